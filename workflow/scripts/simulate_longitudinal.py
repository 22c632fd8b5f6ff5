"""Blur eta into eta_hat and simulate the records that it drives."""

from pathlib import Path

from covary import rng, store
from covary.config.visits import Missing
from covary.dataset import names
from covary.dataset.association import blur
from covary.dataset.groups import label_records
from covary.dataset.scenario import Scenario
from covary.dataset.sites import case_mix_of
from covary.jobs.run import run
from covary.records.study import Study


def simulate_longitudinal(
    dataset: Path,
    noise_variance: float,
    model: str,
    missing: list[Missing],
    subjects: Path,
    design: Path,
    marker: Path,
    seed: int,
    code: str,
) -> None:
    """Write the records of one noise level, part by part."""
    scenario = Scenario(noise_variance)
    study = Study.of(dataset, model)
    group = store.read(dataset, names.SUBJECTS)
    every_eta, case_mix = group["eta"], case_mix_of(group) if "site" in group else None
    stream = f"residual_error/{scenario.name}"

    def simulate(part):
        some = slice(part.start, part.stop)
        eta = every_eta[some].values
        r = rng.normal(seed, f"association/{scenario.name}", part.start, part.stop, eta.shape[1:])
        eta_hat = blur(eta, noise_variance, r)
        if case_mix is not None:
            eta_hat = eta_hat + case_mix[some]
        observation = study.simulate(eta_hat, some, seed=seed, stream=stream, start=part.start)
        observed = study.observed(observation, eta_hat, missing, seed=seed, start=part.start)
        return label_records(eta_hat, observed, study.times_h, study.model)

    store.write_parts(
        dataset,
        names.records(scenario.name),
        len(every_eta),
        simulate,
        marker,
        {
            "noise_variance": noise_variance,
            "seed": seed,
            "code": code,
            "subjects": store.read_marker(subjects)["sha256"],
            "design": store.read_marker(design)["sha256"],
        },
    )


if __name__ == "__main__":
    run(simulate_longitudinal)
