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
from covary.jobs.progress import progress
from covary.jobs.run import run
from covary.records.study import Study


def measure_visits_worth(
    dataset: Path,
    model: str,
    predictors: list[Predictor],
    noise_variances: list[float],
    settings: VisitsWorth,
    table: Path,
    seed: int,
    resamples: int,
    draws: int,
) -> None:
    """Write the table, from the first test subjects."""
    held_out, study = HeldOut(dataset, predictors), Study.of(dataset, model)
    first_visits = settings.first_visits or default_first_visits(study.design.time_h.shape[1])
    start, levels = held_out.subjects.start, []
    with progress(len(noise_variances), 0, "noise levels") as bar:
        for noise_variance in noise_variances:
            level = first_subjects(held_out.random_effects(noise_variance), settings.subjects)
            observation = held_out.observation(noise_variance)[: settings.subjects]
            levels.append(
                forecast_after_visits(study, level, observation, first_visits, draws, seed=seed, start=start)
            )
            bar.update()
    visits_worth_table(levels, seed=seed, resamples=resamples).to_csv(table, index=False)


if __name__ == "__main__":
    run(measure_visits_worth)
