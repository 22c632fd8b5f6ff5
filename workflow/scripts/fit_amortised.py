"""Fit the population model to training records by draws of a posterior network."""

import logging
from pathlib import Path

from covary import store
from covary.amortised.fit import PopulationSimulator
from covary.amortised.fit import fit_amortised as fit_draws
from covary.amortised.store import load
from covary.config.records import PopulationFit
from covary.config.visits import Missing
from covary.dataset import names
from covary.dataset.scenario import Scenario
from covary.dataset.subjects import members
from covary.jobs.run import run
from covary.records.population import in_texts
from covary.records.study import Study

log = logging.getLogger("covary")


def fit_amortised(
    dataset: Path,
    noise_variance: float | None,
    model: str,
    missing: list[Missing],
    fit: PopulationFit,
    network: Path,
    parameters: Path,
    table: Path,
    verdict: Path,
    seed: int,
) -> None:
    """Write the parameters, their table and the verdict on the fit, of the first training subjects."""
    study = Study.of(dataset, model)
    train = members(store.read(dataset, names.SUBJECTS), "train")
    chosen = slice(train.start, min(train.stop, train.start + fit.subjects))
    observation = store.read(dataset, names.records(Scenario(noise_variance).name))["observation"][chosen]
    initial, records = study.initial(fit), study.records(observation.values, chosen)
    simulator = PopulationSimulator(study.model, initial, study.design, missing, fit.prior_width)
    fitted = fit_draws(load(network)[0], simulator, observation.values.astype("float64"), seed=seed)
    level = {"minus_two_log_likelihood": fitted.minus_two_log_likelihood}
    texts = in_texts(fitted, level, fit, initial, records)
    for path, text in zip((parameters, table, verdict), texts, strict=True):
        path.write_text(text, encoding="utf-8")
    log.log(logging.INFO if fitted.converged else logging.WARNING, "population fit %s", fitted.verdict)


if __name__ == "__main__":
    run(fit_amortised)
