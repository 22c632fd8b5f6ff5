"""Check posteriors of simulated records whose random effects are known."""

from pathlib import Path

from covary import nlme
from covary.amortised.problem import EngineSimulator
from covary.amortised.store import load
from covary.config.visits import Missing
from covary.dataset.scenario import Scenario
from covary.evaluate.posterior_checks import check_posteriors as check
from covary.jobs.run import run
from covary.nlme.fit import typical_covariates
from covary.nlme.shift import mean_between
from covary.records.study import Study


def check_posteriors(
    dataset: Path,
    noise_variance: float | None,
    model: str,
    missing: list[Missing],
    parameters: Path,
    trained_on: Path,
    network: Path,
    blind: Path,
    checks: Path,
    ranks: Path,
    subjects: int,
    resamples: int,
    seed: int,
) -> None:
    """Write the checks of one scenario and the counts of ranks; `trained_on` is the networks' population."""
    study = Study.of(dataset, model)
    population = nlme.parameters_from_json(parameters.read_text(encoding="utf-8"))
    trained, factor = load(network)
    table, counts = check(
        trained,
        load(blind)[0],
        factor,
        EngineSimulator(study.model, population, study.design, missing),
        subjects,
        seed=seed,
        stream=f"posterior_checks/{Scenario(noise_variance).name}",
        resamples=resamples,
        mean=mean_between(
            study.model,
            nlme.parameters_from_json(trained_on.read_text(encoding="utf-8")),
            population,
            typical_covariates(study.design),
        ),
    )
    table.to_csv(checks, index=False)
    counts.to_csv(ranks, index=False)


if __name__ == "__main__":
    run(check_posteriors)
