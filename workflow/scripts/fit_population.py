"""Fit the population model to training records by maximum likelihood."""

import logging
from pathlib import Path

from covary import nlme, store
from covary.config.records import PopulationFit
from covary.dataset import names
from covary.dataset.scenario import Scenario
from covary.dataset.subjects import members
from covary.jobs.run import run
from covary.records.study import Study

log = logging.getLogger("covary")


def fit_population(
    dataset: Path,
    noise_variance: float | None,
    model: str,
    fit: PopulationFit,
    parameters: Path,
    table: Path,
) -> None:
    """Fit to the first training subjects; write the parameters and their table."""
    study = Study.of(dataset, model)
    train = members(store.read(dataset, names.SUBJECTS), "train")
    chosen = slice(train.start, min(train.stop, train.start + fit.subjects))
    group = store.read(dataset, names.records(Scenario(noise_variance).name))
    fitted = nlme.fit_population(
        study.model,
        study.records(group["observation"][chosen].values, chosen),
        study.initial(fit),
        method=fit.method,
    )
    log.log(logging.INFO if fitted.converged else logging.WARNING, "population fit %s", fitted.verdict)
    parameters.write_text(nlme.parameters_to_json(fitted.parameters), encoding="utf-8")
    fitted.table().to_csv(table, index=False)


if __name__ == "__main__":
    run(fit_population)
