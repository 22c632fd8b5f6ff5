"""Draw random effects of training and validation subjects by a posterior network, weighted to be exact."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from covary import nlme, store
from covary.amortised.exact import Source, exact_draws
from covary.amortised.store import load
from covary.dataset import names
from covary.dataset.scenario import Scenario
from covary.dataset.subjects import members
from covary.jobs.run import run
from covary.nlme.fit import typical_covariates
from covary.nlme.shift import mean_between
from covary.records.study import Study

log = logging.getLogger("covary")


def draw_amortised(
    dataset: Path,
    noise_variance: float | None,
    model: str,
    parameters: Path,
    trained_on: Path,
    network: Path,
    posteriors: Path,
    status: Path,
    draws: int,
    seed: int,
) -> None:
    """Write the draws and log p(y) of the subjects up to the last of validation, and where they come from.

    `trained_on` is the population of the network's training.
    """
    scenario, study = Scenario(noise_variance), Study.of(dataset, model)
    some = slice(members(store.read(dataset, names.SUBJECTS), "validation").stop)
    observation = store.read(dataset, names.records(scenario.name))["observation"][some].values
    population = nlme.parameters_from_json(parameters.read_text(encoding="utf-8"))
    trained, factor = load(network)
    mean = mean_between(
        study.model,
        nlme.parameters_from_json(trained_on.read_text(encoding="utf-8")),
        population,
        typical_covariates(study.design),
    )
    stream = f"amortised_draws/{scenario.name}"
    records = study.records(observation, some)
    found = exact_draws(
        trained, factor, study.model, population, records, draws, seed, stream=stream, mean=mean
    )
    source = [Source(value).name.lower() for value in found.source]
    log.info("draws by source: %s", pd.Series(source).value_counts().to_dict())
    np.savez(posteriors, draws=found.draws.eta.astype(np.float32), log_marginal=found.draws.log_marginal)
    columns = {"source": source, "effective_sample_size": found.draws.effective_sample_size}
    table = pd.DataFrame({**columns, "pareto_k": found.pareto_k})
    table.to_csv(status, index_label="subject")


if __name__ == "__main__":
    run(draw_amortised)
