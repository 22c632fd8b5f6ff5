"""Compare how much association is found where the estimator knows one structural model or another."""

from pathlib import Path

import numpy as np

from covary import store
from covary.config.ladder import Ladder
from covary.dataset import names
from covary.dataset.association import explainable_fraction
from covary.dataset.scenario import Scenario
from covary.dataset.subjects import members
from covary.evaluate.estimators import Estimator, Truth, association_table
from covary.jobs.run import run
from covary.records.study import Study


def compare_estimators(
    dataset: Path,
    noise_variance: float,
    model: str,
    settings: Ladder,
    estimates: list[Path],
    table: Path,
    seed: int,
    resamples: int,
) -> None:
    """Write the table; `estimates` are in the order of the estimators."""
    scenario = Scenario(noise_variance)
    subjects = store.read(dataset, names.SUBJECTS)
    train, test = members(subjects, "train"), members(subjects, "test")
    eta, eta_hat = subjects["eta"].values, store.read(dataset, names.records(scenario.name))["eta_hat"].values
    outcome = Study.of(dataset, model).predictions(eta_hat[test], test)
    truth = Truth(eta[train], eta_hat[train], eta[test], eta_hat[test], outcome)
    estimators = {}
    for name, path in zip(settings.estimators, estimates, strict=True):
        with np.load(path) as of:
            every = of["estimate"]
            estimators[name] = Estimator(every[train], every[test], of["predicted"], of["outcome"])
    rows = association_table(estimators, truth, seed=seed, resamples=resamples)
    rows.assign(explainable=explainable_fraction(noise_variance)).to_csv(table, index=False)


if __name__ == "__main__":
    run(compare_estimators)
