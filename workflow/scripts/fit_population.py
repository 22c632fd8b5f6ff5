"""Fit the population model to training records by maximum likelihood."""

import json
import logging
from pathlib import Path

from covary import store
from covary.config.records import PopulationFit
from covary.dataset import names
from covary.dataset.scenario import Scenario
from covary.dataset.subjects import members
from covary.jobs.resumable import Journal, identity
from covary.jobs.run import run
from covary.records.population import fit_in_texts
from covary.records.study import Study

log = logging.getLogger("covary")


def fit_population(
    dataset: Path,
    noise_variance: float | None,
    model: str,
    model_file: list[Path],
    fit: PopulationFit,
    parameters: Path,
    table: Path,
    verdict: Path,
    code: str,
) -> None:
    """Fit to the first training subjects; write the parameters, their table and the verdict on the fit.

    A fit to the same records is not repeated, for instance when only test subjects were added.
    """
    train = members(store.read(dataset, names.SUBJECTS), "train")
    chosen = slice(train.start, min(train.stop, train.start + fit.subjects))
    observation = store.read(dataset, names.records(Scenario(noise_variance).name))["observation"][chosen]
    design = store.read(dataset, names.DESIGN).isel(subject=chosen, missing_dims="ignore")
    made_of = [
        *(code, model, fit.model_dump_json()),
        *(file.read_text(encoding="utf-8") for file in model_file),
        *(json.dumps(records.to_dict(), default=str) for records in (design, observation)),
    ]
    journal = Journal(parameters.with_name(f".{parameters.name}.kept"), identity(made_of))
    if not journal.read():
        journal.write(fit_in_texts(Study.of(dataset, model), observation.values, chosen, fit))
    for path, text in zip((parameters, table, verdict), journal.read(), strict=True):
        path.write_text(text, encoding="utf-8")
    said = json.loads(verdict.read_text(encoding="utf-8"))
    log.log(logging.INFO if said["converged"] else logging.WARNING, "population fit %s", said["verdict"])


if __name__ == "__main__":
    run(fit_population)
