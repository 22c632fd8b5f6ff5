"""Compare the models of the ladder: evidence and predictions of the same test subjects."""

from pathlib import Path

import pandas as pd

from covary.config.ladder import Ladder
from covary.dataset.scenario import Scenario
from covary.evaluate.ladder import Held, has_converged, ladder_tables, n_random_effects, score_model
from covary.jobs.run import run
from covary.records.study import Study


def compare_ladder(
    dataset: Path,
    noise_variance: float,
    model: str,
    settings: Ladder,
    fits: list[Path],
    scores: list[Path],
    table: Path,
    predictions: Path,
    seed: int,
    resamples: int,
) -> None:
    """Write the two tables. `fits` and `scores` are by model, then by number of training subjects."""
    study = Study.of(dataset, model)
    held = Held.read(dataset, Scenario(noise_variance), study, settings)
    truth = score_model(study.model, study.truth, held, settings.first_visits, seed)
    keys = [
        (rung.name, n_random_effects(rung), n) for rung in settings.models for n in settings.training_subjects
    ]
    scored = {key: pd.read_csv(path) for key, path in zip(keys, scores, strict=True)}
    converged = {
        key: has_converged(path.read_text(encoding="utf-8")) for key, path in zip(keys, fits, strict=True)
    }
    evidence, predicted = ladder_tables(
        scored, converged, truth, len(study.truth.omega), settings.compared_to, seed=seed, resamples=resamples
    )
    evidence.to_csv(table, index=False)
    predicted.to_csv(predictions, index=False)


if __name__ == "__main__":
    run(compare_ladder)
