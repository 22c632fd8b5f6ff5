"""Forecasts of the last visits given the first ones, with and without the image."""

from pathlib import Path

from covary.config.evaluation import VisitsWorth
from covary.config.predictors import Predictor
from covary.evaluate import HeldOut
from covary.evaluate.visits_worth import (
    default_first_visits,
    first_subjects,
    forecast_after_visits,
    visits_worth_table,
)
from covary.jobs.run import run
from covary.records.study import Study


def measure_visits_worth(
    dataset: Path,
    model: str,
    predictors: list[Predictor],
    noise_variance: float,
    settings: VisitsWorth,
    table: Path,
    seed: int,
    resamples: int,
    draws: int,
) -> None:
    """Write the rows of one noise level, from the first test subjects."""
    held_out, study = HeldOut(dataset, predictors), Study.of(dataset, model)
    first_visits = settings.first_visits or default_first_visits(study.design.time_h.shape[1])
    level = first_subjects(held_out.random_effects(noise_variance), settings.subjects)
    observation = held_out.observation(noise_variance)[: settings.subjects]
    start = held_out.subjects.start
    forecasts = forecast_after_visits(study, level, observation, first_visits, draws, seed=seed, start=start)
    visits_worth_table([forecasts], seed=seed, resamples=resamples).to_csv(table, index=False)


if __name__ == "__main__":
    run(measure_visits_worth)
