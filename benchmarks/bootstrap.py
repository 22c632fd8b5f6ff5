"""How long the intervals of all tables take: 1,000 resamples of 100,000 test subjects.

    python benchmarks/bootstrap.py [--subjects 100000] [--resamples 1000]

Five noise levels, three random effects, 21 observations, two predictors and their oracles, learning curves of
four sizes; random arrays of the sizes that the rule `evaluate` has. Simulation is not in it.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from covary import evaluate, nlme
from covary.dataset.association import blur
from covary.resampling import Resamples

LEVELS = (0.0, 1.0, 9.0, 18.0, 49.0)
PREDICTORS = ("ebe_mse", "marginal_likelihood")
EFFECTS, TIMES = 3, 21
NAMES = [f"eta_{i + 1}" for i in range(EFFECTS)]


def main() -> None:
    """Print the seconds of each table and of all together."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subjects", type=int, default=100_000)
    parser.add_argument("--resamples", type=int, default=1_000)
    options = parser.parse_args()
    n = options.subjects
    random = np.random.default_rng(1)

    def draw(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    eta = draw(n, EFFECTS)
    effects, with_oracles, records, chains, forecasts, trainings = [], [], [], [], [], []
    for v in LEVELS:
        eta_hat, eta_approx = blur(eta, v, draw(n, EFFECTS)), draw(n, EFFECTS)
        signal = eta / np.sqrt(1 + v)
        eta_pred = {name: signal + 0.3 * draw(n, EFFECTS) for name in PREDICTORS}
        oracles = {f"oracle_{name}": signal + 0.1 * draw(n, EFFECTS) for name in PREDICTORS}
        covariance = dict.fromkeys([*eta_pred, *oracles], np.eye(EFFECTS))
        effects.append(evaluate.RandomEffects(v, NAMES, eta_hat, eta_approx, eta_pred, covariance))
        with_oracles.append(
            evaluate.RandomEffects(v, NAMES, eta_hat, eta_approx, eta_pred | oracles, covariance)
        )
        true, approximate, average, other = draw(4, n, TIMES)
        predicted = {name: draw(n, TIMES) for name in PREDICTORS}
        records.append(evaluate.Records(v, true, predicted, approximate, average, other))
        estimated = {name: oracles[f"oracle_{name}"] for name in PREDICTORS}
        read = dict.fromkeys(PREDICTORS, eta + 0.1 * draw(n, EFFECTS))
        chains.append(evaluate.Chain(v, NAMES, eta, read, estimated, eta_pred))
        names = (*PREDICTORS, evaluate.IDEAL, evaluate.NO_IMAGE)
        forecasts.append(evaluate.Forecasts(v, true, {name: random.random((n, 3)) for name in names}))
        sizes, curve = np.array([1, 2, 4, 8]) * 1_000, signal + 0.3 * draw(4, n, EFFECTS)
        trainings.append(evaluate.TrainingSizes(v, PREDICTORS[1], eta_hat, eta_approx, sizes, curve))

    prediction = draw(n, TIMES)
    resamples = Resamples(n, seed=1, resamples=options.resamples)
    tables: dict[str, Callable[[], object]] = {
        "random_effects (and drawing the resamples)": lambda: evaluate.random_effects_table(
            effects, resamples
        ),
        "comparison": lambda: evaluate.comparison_table(effects, resamples),
        "calibration": lambda: evaluate.calibration_table(with_oracles, resamples),
        "longitudinal_nll": lambda: evaluate.longitudinal_nll_table(
            records, prediction, resamples, residual=nlme.Additive(0.01)
        ),
        "outcomes": lambda: evaluate.outcome_table(forecasts, resamples),
        "association_ledger": lambda: evaluate.association_ledger(chains, resamples),
        "learning_curve, power": lambda: evaluate.learning_curves(
            trainings, resamples, {v: 1 / (1 + v) for v in LEVELS}
        ),
    }
    total = 0.0
    for name, make in tables.items():
        start = time.perf_counter()
        make()
        seconds = time.perf_counter() - start
        total += seconds
        print(f"{name:44s} {seconds:6.2f} s", flush=True)
    print(f"{'all':44s} {total:6.2f} s")


if __name__ == "__main__":
    main()
