"""Score random effects and records on the test subjects: every table with its intervals."""

from pathlib import Path

from covary import evaluate
from covary.config import Longitudinal
from covary.job import job
from covary.longitudinal import Study

with job(snakemake.log[0]):
    params = snakemake.params
    study = Study(Longitudinal(**params.longitudinal))
    held_out = evaluate.HeldOut(
        Path(snakemake.input.manifest).with_name("dataset.zarr"), params.network, params.objectives
    )
    start, n = held_out.subjects.start, len(held_out.eta)
    resamples = evaluate.Resamples(n, seed=params.seed, resamples=params.resamples)
    simulation = evaluate.OutcomeSimulation(study, params.seed, start)

    levels = [held_out.random_effects(noise) for noise in params.noises]
    observed = [held_out.observation(noise) for noise in params.noises]
    records = [simulation.records(*pair) for pair in zip(levels, observed, strict=True)]
    forecasts = [
        simulation.forecasts(level, held_out.eta, observation, params.draws)
        for level, observation in zip(levels, observed, strict=True)
    ]
    trainings = [
        held_out.training_sizes(Path(file).parent.name.removeprefix("noise_"), Path(file).stem, Path(file))
        for file in snakemake.input.learning_curves
    ]
    learning_curve, power = evaluate.learning_curves(trainings, resamples)
    sd = params.longitudinal["residual_sd"]
    tables = {
        "random_effects": evaluate.random_effects_table(levels, resamples),
        "comparison": evaluate.comparison_table(levels, resamples),
        "calibration": evaluate.calibration_table(
            [held_out.random_effects(noise, oracles=True) for noise in params.noises], resamples
        ),
        "longitudinal_nll": evaluate.longitudinal_nll_table(
            records, study.predictions(held_out.eta), resamples, residual_sd=sd
        ),
        "outcomes": evaluate.outcome_table(forecasts, resamples),
        "association_ledger": evaluate.association_ledger(
            [held_out.chain(noise) for noise in params.noises], resamples
        ),
        "learning_curve": learning_curve,
        "power": power,
    }
    for name, table in tables.items():
        table.to_csv(snakemake.output[name], index=False)
