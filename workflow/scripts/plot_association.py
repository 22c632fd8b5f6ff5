"""Images with their records, predicted trajectories, R² against the explainable fraction."""

from pathlib import Path

import numpy as np
import pandas as pd

from covary import evaluate, figures, store
from covary.config.predictors import Predictor
from covary.config.records import Longitudinal
from covary.jobs.job import job
from covary.records.study import Study

N_SUBJECTS = 4

with job(snakemake.log[0]):
    params, output = snakemake.params, snakemake.output
    study = Study(Longitudinal(**params.longitudinal))
    dataset = Path(snakemake.input.manifest).with_name("dataset.zarr")
    held_out = evaluate.HeldOut(dataset, [Predictor(**settings) for settings in params.predictors])
    encoded = study.predictions(held_out.eta)
    shown = figures.spread_subjects(encoded, N_SUBJECTS)
    observed = np.stack([held_out.observation(noise)[shown] for noise in params.noises])
    levels = [held_out.random_effects(noise) for noise in params.noises]
    predicted = {
        name: np.stack([study.predictions(level.eta_pred[name][shown]) for level in levels])
        for name in levels[0].eta_pred
    }
    average = study.predictions(np.zeros((1, held_out.eta.shape[1])))[0]
    times_h, variances = np.asarray(study.times_h), [level.noise_variance for level in levels]
    images = store.read(dataset, "images")["image"][held_out.subjects][shown].values
    association = figures.association(images, times_h, variances, observed, encoded[shown])
    figures.save(association, Path(output.association))
    trajectories = figures.trajectories(times_h, variances, observed, predicted, average)
    figures.save(trajectories, Path(output.trajectories))
    r2 = figures.r2_against_explainable_fraction(pd.read_csv(snakemake.input.random_effects))
    figures.save(r2, Path(output.r2_against_explainable_fraction))
