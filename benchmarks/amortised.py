"""Posterior networks on the conversion reaction of Wang et al. (2024), against the exact optimum.

python benchmarks/amortised.py [rounds] [encoding ...]

Two rates k1 and k2 of a reversible reaction, log10 k ~ N(-0.75, 0.25²), are inferred from three observations
of which up to two are missing. The exact posterior is computed by quadrature on a grid. The loss is the
published one: the mean of -log q(log10 k | y), without the constant ln 2π of two parameters.
"""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from covary import nlme
from covary.amortised.problem import FunctionSimulator, simulated, uniform_number_missing
from covary.amortised.train import Training, train
from covary.evaluate.coverage import DRAWS, calibration_table

TIMES_H, SD, PRIOR_SD, MISSING = np.array([0.0, 5.0, 10.0]), 0.015, 0.25, 2
TEST, GRID = 500, 241
BLIND = "blind"  # trained on complete records, and given the mean of the data at a missing visit
PUBLISHED = {"insert": -4.346, "augment": -4.348, "time_labels": -4.352, "ambiguous": -4.305}
SETTINGS = {
    "augment": Training(layers=4),
    "insert": Training(layers=4, encoding="insert", constant=-5.0),
    "ambiguous": Training(layers=4, encoding="insert", constant=0.0),  # within the range of the data
    "time_labels": Training(layers=4, encoding="time_labels", summary="set"),
    BLIND: Training(layers=4, encoding="insert", constant=0.0),
}


def reaction(phi):
    """The second species of the reaction at each time."""
    k = 10 ** (-0.75 + PRIOR_SD * phi)
    total = k.sum(axis=1, keepdims=True)
    return k[:, :1] / total * -np.expm1(-total * TIMES_H)


def log_joint(phi, predicted, record):
    """log p(φ, y) up to a constant, of points with their predictions."""
    seen = np.isfinite(record)
    return -0.5 * (phi**2).sum(axis=1) - 0.5 * (((record - predicted)[:, seen] / SD) ** 2).sum(axis=1)


def exact_log_posterior(phi, y):
    """log p(φ | y) of each subject, by the trapezoidal rule on a grid of ±5 prior standard deviations."""
    axis = np.linspace(-5, 5, GRID)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    predicted, cell = reaction(grid), (axis[1] - axis[0]) ** 2
    found = []
    for one, record in zip(phi[:, None], y, strict=True):
        values = log_joint(grid, predicted, record)
        evidence = values.max() + np.log(np.exp(values - values.max()).sum() * cell)
        found.append(log_joint(one, reaction(one), record)[0] - evidence)
    return np.array(found)


def main() -> None:
    """Print the loss of some encodings, their distance from the optimum, and their calibration."""
    rounds, names = int((sys.argv[1:] or [60])[0]), sys.argv[2:] or list(SETTINGS)
    nlme.configure()
    simulator = FunctionSimulator(TIMES_H, 2, reaction, SD, uniform_number_missing(MISSING))
    complete = FunctionSimulator(TIMES_H, 2, reaction, SD)
    phi, y = simulated(simulator, 0, TEST, seed=9, stream="test")
    exact = exact_log_posterior(phi, y)
    optimum = 2 * np.log(PRIOR_SD) - np.log(2 * np.pi) - exact.mean()
    print(f"exact optimum {optimum:.3f} (standard error {exact.std() / TEST**0.5:.3f})", flush=True)
    for name in names:
        began = time.process_time()
        settings, trained_on = (
            replace(SETTINGS[name], rounds=rounds),
            complete if name == BLIND else simulator,
        )
        with tempfile.TemporaryDirectory() as folder:
            network, _ = train(trained_on, settings, seed=1, folder=Path(folder))
        seconds = time.process_time() - began
        gap = exact - network.log_density(phi, y)
        draws, _ = network.sample(y, DRAWS, seed=2, stream="draws")
        table = calibration_table(phi, draws, np.isfinite(y), ["k1", "k2"])
        least, width = table.query("missing == 'all'")["p"].min(), 1.96 * gap.std() / TEST**0.5
        published = f"(published {PUBLISHED[name]})" if name in PUBLISHED else ""
        print(
            f"{name:12} loss {optimum + gap.mean():.3f} {published}, above the optimum by {gap.mean():.4f} "
            f"± {width:.4f} nat; least p of ranks {least:.2g}; {seconds:.0f} CPU s",
            flush=True,
        )


if __name__ == "__main__":
    main()
