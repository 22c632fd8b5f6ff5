"""Images with their records, predicted trajectories, R² against the explainable fraction."""

from pathlib import Path

import numpy as np
import pandas as pd

from covary import figures, store
from covary.config import Longitudinal
from covary.job import job
from covary.longitudinal import Study
from covary.subjects import members

N_SUBJECTS = 4

with job(snakemake.log[0]):
    study = Study(Longitudinal(**snakemake.params.longitudinal))
    dataset = Path(snakemake.input.manifest).with_name("dataset.zarr")
    noises, predictors = snakemake.params.noises, snakemake.params.predictors
    variances = [float(noise) for noise in noises]
    subjects = store.read(dataset, "subjects")
    test = members(subjects, "test")
    encoded = study.predictions(subjects["eta"][test].values)
    shown = figures.spread_subjects(encoded, N_SUBJECTS)
    observed = np.stack(
        [store.read(dataset, f"longitudinal/noise_{noise}")["observation"][test][shown] for noise in noises]
    )
    predicted = {
        name: np.stack(
            [
                study.predictions(
                    store.read(dataset, f"predictions/noise_{noise}/{name}")["eta_pred"][shown].values
                )
                for noise in noises
            ]
        )
        for name in predictors
    }
    times_h = np.asarray(study.times_h)
    images = store.read(dataset, "images")["image"][test][shown].values
    drawn = {
        "association": figures.association(images, times_h, variances, observed, encoded[shown]),
        "trajectories": figures.trajectories(
            times_h,
            variances,
            observed,
            predicted,
            study.predictions(np.zeros((1, subjects["eta"].shape[1])))[0],
        ),
        "r2_against_explainable_fraction": figures.r2_against_explainable_fraction(
            pd.read_csv(snakemake.input.random_effects)
        ),
    }
    for name, figure in drawn.items():
        figures.save(figure, Path(snakemake.output[name]))
