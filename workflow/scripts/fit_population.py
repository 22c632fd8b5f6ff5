"""Fit the population model to training records by maximum likelihood."""

import json
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
    verdict: Path,
) -> None:
    """Fit to the first training subjects; write the parameters, their table and the verdict on the fit."""
    study = Study.of(dataset, model)
    train = members(store.read(dataset, names.SUBJECTS), "train")
    chosen = slice(train.start, min(train.stop, train.start + fit.subjects))
    group = store.read(dataset, names.records(Scenario(noise_variance).name))
    initial = study.initial(fit)
    records = study.records(group["observation"][chosen].values, chosen)
    fitted = nlme.fit_population(study.model, records, initial, method=fit.method)
    log.log(logging.INFO if fitted.converged else logging.WARNING, "population fit %s", fitted.verdict)
    parameters.write_text(nlme.parameters_to_json(fitted.parameters), encoding="utf-8")
    begun_at = [float(value) for value in initial.natural().values()]
    fitted.table().assign(initial=begun_at).to_csv(table, index=False)
    said = {
        "method": fitted.method,
        "converged": bool(fitted.converged),
        "verdict": fitted.verdict,
        "minus_two_log_likelihood": fitted.minus_two_log_likelihood,
        "subjects": chosen.stop - chosen.start,
        "observations": fitted.n_observations,
    }
    verdict.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(fit_population)
