"""Draw random effects of training and validation subjects from their posteriors given the record alone."""

from pathlib import Path

import numpy as np

from covary import nlme, store
from covary.dataset import names
from covary.dataset.groups import modes_of
from covary.dataset.scenario import Scenario
from covary.dataset.subjects import members
from covary.jobs.run import run
from covary.records.study import Study


def draw_posteriors(
    dataset: Path,
    noise_variance: float | None,
    model: str,
    parameters: Path,
    posteriors: Path,
    draws: int,
    seed: int,
) -> None:
    """Write the draws and log p(y) of the first subjects, up to the last of validation."""
    scenario = Scenario(noise_variance)
    study = Study.of(dataset, model)
    some = slice(members(store.read(dataset, names.SUBJECTS), "validation").stop)
    observation = store.read(dataset, names.records(scenario.name))["observation"][some].values
    drawn = nlme.posterior_draws(
        study.model,
        nlme.parameters_from_json(parameters.read_text(encoding="utf-8")),
        study.records(observation, some),
        modes_of(store.read(dataset, names.estimates(scenario.name))[{"subject": some}]),
        draws,
        seed,
        stream=f"posterior_draws/{scenario.name}",
    )
    np.savez(posteriors, draws=drawn.eta.astype(np.float32), log_marginal=drawn.log_marginal)


if __name__ == "__main__":
    run(draw_posteriors)
