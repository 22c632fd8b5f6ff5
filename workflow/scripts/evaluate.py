"""Score random effects and records on the test subjects: every table with its intervals."""

from pathlib import Path

from covary.config.predictors import Predictor
from covary.evaluate import HeldOut, score
from covary.jobs.run import run
from covary.records.study import Study


def evaluate(
    dataset: Path,
    model: str,
    predictors: list[Predictor],
    noise_variances: list[float],
    learning_curves: list[Path],
    tables: Path,
    seed: int,
    resamples: int,
    draws: int,
) -> None:
    """Write one CSV file per table into the folder `tables`."""
    scored = score(
        HeldOut(dataset, predictors),
        Study.of(dataset, model),
        noise_variances,
        learning_curves,
        seed=seed,
        resamples=resamples,
        predictive_draws=draws,
    )
    for name, table in scored.items():
        table.to_csv(tables / f"{name}.csv", index=False)


if __name__ == "__main__":
    run(evaluate)
