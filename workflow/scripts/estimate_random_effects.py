"""Empirical Bayes estimates of every subject's random effects from the record alone."""

from pathlib import Path

from covary import nlme, store
from covary.dataset import names
from covary.dataset.groups import label_estimates
from covary.dataset.scenario import Scenario
from covary.jobs.run import run
from covary.records.study import Study


def estimate_random_effects(
    dataset: Path,
    noise_variance: float | None,
    model: str,
    records: Path,
    parameters: Path,
    marker: Path,
    code: str,
) -> None:
    """Write the group of estimates, part by part."""
    scenario = Scenario(noise_variance)
    study = Study.of(dataset, model)
    fitted = parameters.read_text(encoding="utf-8")
    population = nlme.parameters_from_json(fitted)
    observation = store.read(dataset, names.records(scenario.name))["observation"]

    def estimate(part):
        some = slice(part.start, part.stop)
        observed = study.records(observation[some].values, some)
        return label_estimates(nlme.empirical_bayes(study.model, population, observed))

    store.write_parts(
        dataset,
        names.estimates(scenario.name),
        len(observation),
        estimate,
        marker,
        {
            "noise_variance": noise_variance,
            "code": code,
            "records": store.read_marker(records)["sha256"],
            "parameters": fitted,
        },
    )


if __name__ == "__main__":
    run(estimate_random_effects)
