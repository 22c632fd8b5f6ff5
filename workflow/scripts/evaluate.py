"""Score random effects and records on the test subjects."""

from pathlib import Path

import numpy as np

from covary import evaluate, store
from covary.config import Longitudinal
from covary.job import job
from covary.longitudinal import Study
from covary.subjects import members

with job(snakemake.log[0]):
    params = snakemake.params
    study = Study(Longitudinal(**params.longitudinal))
    dataset = Path(snakemake.input.manifest).with_name("dataset.zarr")
    subjects = store.read(dataset, "subjects")
    test = members(subjects, "test")
    eta = subjects["eta"][test].values

    def outcome(population: str, noise: str, random_effects: np.ndarray) -> np.ndarray:
        stream = f"evaluation/{population}/noise_{noise}"
        return study.simulate(random_effects, seed=params.seed, stream=stream, start=test.start)

    effects, records = [], []
    for noise in params.noises:
        variance = float(noise)
        record = store.read(dataset, f"longitudinal/noise_{noise}")
        eta_approx = store.read(dataset, f"estimates/noise_{noise}")["eta_approx"][test].values
        eta_pred = {
            name: store.read(dataset, f"predictions/noise_{noise}/{name}")["eta_pred"].values
            for name in params.predictors
        }
        drawn = evaluate.random_population(variance, test.start, test.stop, eta.shape[1], seed=params.seed)
        effects.append(evaluate.RandomEffects(variance, record["eta_hat"][test].values, eta_approx, eta_pred))
        records.append(
            evaluate.Records(
                variance,
                true=record["observation"][test].values,
                predicted={name: outcome(name, noise, value) for name, value in eta_pred.items()},
                approximate=outcome("approximate", noise, eta_approx),
                average=outcome("average", noise, np.zeros_like(eta)),
                random=outcome("random", noise, drawn),
            )
        )
    options = {"seed": params.seed, "resamples": params.resamples}
    evaluate.random_effects_table(effects, **options).to_csv(snakemake.output.random_effects, index=False)
    evaluate.longitudinal_nll_table(
        records, study.predictions(eta), residual_sd=params.longitudinal["residual_sd"], **options
    ).to_csv(snakemake.output.longitudinal_nll, index=False)
