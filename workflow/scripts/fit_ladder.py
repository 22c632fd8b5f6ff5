"""Fit one model of the ladder to some training subjects, and score it on test subjects."""

from pathlib import Path

from covary.config.ladder import Ladder
from covary.config.records import PopulationFit
from covary.dataset.scenario import Scenario
from covary.evaluate.ladder import Held, fit_in_text, fit_rung, score_model, training_records
from covary.jobs.run import run
from covary.records.study import Study


def fit_ladder(
    dataset: Path,
    noise_variance: float,
    model: str,
    training_subjects: int,
    fit: PopulationFit,
    settings: Ladder,
    fitted: Path,
    scores: Path,
    seed: int,
) -> None:
    """Write the fit of the only model in `settings`, and one row of scores per test subject."""
    scenario, study = Scenario(noise_variance), Study.of(dataset, model)
    records = training_records(dataset, scenario, study, training_subjects)
    found = fit_rung(settings.models[0], study, records, fit, settings, seed)
    fitted.write_text(fit_in_text(found), encoding="utf-8")
    held = Held.read(dataset, scenario, study, settings)
    scored = score_model(found.model, found.parameters, held, settings.first_visits, seed)
    scored.to_csv(scores, index=False)


if __name__ == "__main__":
    run(fit_ladder)
