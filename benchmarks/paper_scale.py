"""The paper's records in one sitting: every noise level simulated, fitted and estimated, with its two tables.

    python benchmarks/paper_scale.py [--subjects 1100000] [--fit-subjects 5000] [--output FILE]

Goes through the engine and the store as the pipeline's rules do, in one process, into a temporary folder.
The population is fitted to the first subjects of each level: more than the demo takes, since the sampling
error of 1,000 shows in R².
R² is of eta_hat against eta_approx, over all subjects; the mean negative log-likelihoods are of the first
100,000 records under f(eta).
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from covary import evaluate, nlme, rng, store
from covary.config.records import Longitudinal
from covary.dataset import association, names
from covary.dataset.groups import label_estimates, label_records
from covary.dataset.scenario import Scenario
from covary.records.study import Study

NOISE_VARIANCES = (0.0, 1.0, 9.0, 18.0, 49.0)
SEED = 1
SCORED = 100_000


def main() -> None:
    """Run every level, print a line each, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subjects", type=int, default=1_100_000)
    parser.add_argument("--fit-subjects", type=int, default=5_000)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    n = arguments.subjects
    eta = rng.normal(SEED, "eta", 0, n, (3,)).astype(np.float32)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dataset.zarr"
        store.create(
            path, size_px=16, channels=["grey"], shard_subjects=4096, chunk_subjects=4096, attributes={}
        )
        levels = [level(path, eta, variance, arguments.fit_subjects) for variance in NOISE_VARIANCES]
    result = {
        "subjects": n,
        "levels": levels,
        "wall_s": time.perf_counter() - start,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    print(f"wall {result['wall_s']:.0f} s, peak memory {result['peak_memory_gb']:.2f} GB")
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")


def level(path: Path, eta: np.ndarray, variance: float, fit_subjects: int) -> dict:
    """One noise level: simulate, fit, estimate, score."""
    n = len(eta)
    study, scenario = Study.planned(Longitudinal(), n, SEED), Scenario(variance)
    noise, residual = scenario.name, study.truth.residual
    seconds = {}

    def simulate(part):
        r = rng.normal(SEED, f"association/{noise}", part.start, part.stop, (3,))
        eta_hat = association.blur(eta[part.start : part.stop], variance, r)
        stream = f"residual_error/{noise}"
        some = slice(part.start, part.stop)
        observation = study.simulate(eta_hat, some, seed=SEED, stream=stream, start=part.start)
        return label_records(eta_hat, observation, study.times_h, study.model)

    def estimate(part):
        some = slice(part.start, part.stop)
        records = study.records(observation[some].values, some)
        return label_estimates(nlme.empirical_bayes(study.model, fit.parameters, records))

    clock = time.perf_counter()
    store.write_parts(path, names.records(noise), n, simulate, path.parent / "records.json", {})
    seconds["simulate"], clock = time.perf_counter() - clock, time.perf_counter()
    truth = store.read(path, names.records(noise))
    observation = truth["observation"]
    settings = Longitudinal().fit
    fit = nlme.fit_population(
        study.model,
        study.records(observation[:fit_subjects].values, slice(fit_subjects)),
        study.initial(settings),
        method=settings.method,
    )
    seconds["fit"], clock = time.perf_counter() - clock, time.perf_counter()
    store.write_parts(path, names.estimates(noise), n, estimate, path.parent / "estimates.json", {})
    seconds["estimate"] = time.perf_counter() - clock
    estimates = store.read(path, names.estimates(noise))
    some = eta[:SCORED].astype(np.float64)
    prediction = study.predictions(some, slice(len(some)))

    def score(eta, stream):
        y = study.simulate(eta, slice(len(eta)), seed=SEED, stream=stream)
        return float(evaluate.conditional_nll(y, prediction, residual).mean())

    random = evaluate.random_population(variance, 0, len(some), 3, seed=SEED)
    found = {
        "noise_variance": variance,
        "r2_eta_hat_eta_approx": evaluate.r2(truth["eta_hat"].values, estimates["eta_approx"].values),
        "nll_true": float(
            evaluate.conditional_nll(
                observation[:SCORED].values.astype(np.float64), prediction, residual
            ).mean()
        ),
        "nll_average": score(np.zeros_like(some), f"residual_error/average/{noise}"),
        "nll_random": score(random, f"residual_error/random/{noise}"),
        "status": np.bincount(estimates["status"].values, minlength=3).tolist(),
        "seconds": seconds,
        "estimated_per_s": n / seconds["estimate"],
    }
    print(json.dumps(found), flush=True)
    return found


if __name__ == "__main__":
    main()
