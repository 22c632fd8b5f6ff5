"""Score random effects and records on the test subjects: every table with its intervals."""

from pathlib import Path

from covary import evaluate
from covary.config.predictors import Predictor
from covary.config.records import Longitudinal
from covary.jobs.job import job
from covary.records.study import Study

with job(snakemake.log[0]):
    params = snakemake.params
    dataset = Path(snakemake.input.manifest).with_name("dataset.zarr")
    tables = evaluate.score(
        evaluate.HeldOut(dataset, [Predictor(**settings) for settings in params.predictors]),
        Study(Longitudinal(**params.longitudinal)),
        params.noises,
        [Path(file) for file in snakemake.input.learning_curves],
        seed=params.seed,
        resamples=params.resamples,
        predictive_draws=params.draws,
    )
    for name, table in tables.items():
        table.to_csv(snakemake.output[name], index=False)
