"""Posterior networks on test problems of Wang et al. (2024), against the exact optimum.

python benchmarks/amortised.py [problem] [rounds] [encoding ...]

- `reaction_3`, `reaction_11`: two rates k1 and k2 of a reversible reaction, log10 k ~ N(-0.75, 0.25²), from 3
  observations of which up to 2 are missing, or 11 of which up to 6 are.
- `sinusoid`: a and b of sin(2πat) + b, a ~ U(0.1, 1), b ~ N(0, 0.25²), from 41 observations of which up to 21
  are missing.

The exact posterior is computed by quadrature: on a grid of both rates, and on a grid of a, given which that
of b is normal. The loss is the published one: the mean of -log q(θ | y) less the constant ln 2π.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from covary import nlme
from covary.amortised.network import Summary
from covary.amortised.problem import FunctionSimulator, simulated, uniform_number_missing
from covary.amortised.train import Training, train
from covary.evaluate.coverage import DRAWS, calibration_table

TEST, GRID, FINE = 500, 361, 40_001
BLIND = "blind"  # trained on complete records, and given the mean of the data at a missing visit
SETTINGS = {
    "augment": Training(layers=4),
    "insert": Training(layers=4, encoding="insert", constant=-5.0),
    "ambiguous": Training(layers=4, encoding="insert", constant=0.0),  # within the range of the data
    "time_labels": Training(layers=4, encoding="time_labels", summary="set"),
    BLIND: Training(layers=4, encoding="insert", constant=0.0),
}
PRIOR_SD = 0.25


class Problem(NamedTuple):
    """A simulator of φ ~ N(0, I), its exact posterior, and what is published."""

    times_h: np.ndarray
    sd: float
    most_missing: int
    mean: Callable[[np.ndarray, np.ndarray], np.ndarray]  # of (φ, times)
    log_volume: Callable[[np.ndarray], np.ndarray]  # log |dθ/dφ|
    exact: Callable[["Problem", np.ndarray, np.ndarray], np.ndarray]  # log p(φ | y)
    published: dict[str, float]
    summary: Summary = "dense"


def reaction(phi, times_h):
    """The second species of the reaction at each time."""
    k = 10 ** (-0.75 + PRIOR_SD * phi)
    total = k.sum(axis=1, keepdims=True)
    return k[:, :1] / total * -np.expm1(-total * times_h)


def sinusoid(phi, times_h):
    """The oscillation at each time; a has a uniform prior."""
    return np.sin(2 * np.pi * _frequency(phi[:, :1]) * times_h) + PRIOR_SD * phi[:, 1:]


def _frequency(phi):
    return 0.1 + 0.9 * ndtr(phi)


def exact_on_a_grid(problem, phi, y):
    """log p(φ | y) of each subject, by the trapezoidal rule on a grid of ±5 prior standard deviations."""
    axis = np.linspace(-5, 5, GRID)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    predicted, cell = problem.mean(grid, problem.times_h), (axis[1] - axis[0]) ** 2
    found = []
    for one, record in zip(phi[:, None], y, strict=True):
        values = _log_joint(problem, grid, predicted, record)
        evidence = values.max() + np.log(np.exp(values - values.max()).sum() * cell)
        found.append(_log_joint(problem, one, problem.mean(one, problem.times_h), record)[0] - evidence)
    return np.array(found)


def _log_joint(problem, phi, predicted, record):
    """log p(φ, y) up to a constant, of points with their predictions."""
    seen = np.isfinite(record)
    residual = (record - predicted)[:, seen] / problem.sd
    return -0.5 * (phi**2).sum(axis=1) - 0.5 * (residual**2).sum(axis=1)


def exact_along_a(problem, phi, y):
    """log p(φ | y) of each subject: b is integrated in closed form, a by the trapezoidal rule."""
    a = np.linspace(0.1, 1.0, FINE)
    waves = np.sin(2 * np.pi * a[:, None] * problem.times_h)
    found = []
    for one, record in zip(phi, y, strict=True):
        seen = np.isfinite(record)
        n, ratio = seen.sum(), PRIOR_SD**2 / problem.sd**2

        def log_marginal(wave, record=record, seen=seen, n=n, ratio=ratio):
            """log p(y | a) up to a constant, with the covariance sd² I + PRIOR_SD² 1 1'."""
            residual = record[seen] - wave[:, seen]
            squares = (residual**2).sum(axis=1) - ratio / (1 + n * ratio) * residual.sum(axis=1) ** 2
            return -0.5 * squares / problem.sd**2

        values = log_marginal(waves)
        evidence = values.max() + np.log(np.exp(values - values.max()).sum() * (a[1] - a[0]))
        wave = np.sin(2 * np.pi * _frequency(one[None, :1]) * problem.times_h)
        precision = n / problem.sd**2 + 1 / PRIOR_SD**2
        centre = (record[seen] - wave[0, seen]).sum() / problem.sd**2 / precision
        of_b = 0.5 * np.log(precision / (2 * np.pi)) - 0.5 * precision * (PRIOR_SD * one[1] - centre) ** 2
        found.append(log_marginal(wave)[0] - evidence + of_b)
    return np.array(found) + problem.log_volume(phi)


def _volume_of_rates(phi):
    return np.full(len(phi), 2 * np.log(PRIOR_SD))


def _volume_of_wave(phi):
    return np.log(0.9 * PRIOR_SD) - 0.5 * phi[:, 0] ** 2 - 0.5 * np.log(2 * np.pi)


PROBLEMS = {
    "reaction_3": Problem(
        np.linspace(0, 10, 3), 0.015, 2, reaction, _volume_of_rates, exact_on_a_grid,
        {"insert": -4.346, "augment": -4.348, "time_labels": -4.352, "ambiguous": -4.305},
    ),
    "reaction_11": Problem(
        np.linspace(0, 10, 11), 0.015, 6, reaction, _volume_of_rates, exact_on_a_grid, {}
    ),
    "sinusoid": Problem(
        np.linspace(0, 10, 41), 0.05, 21, sinusoid, _volume_of_wave, exact_along_a,
        {"insert": -11.261, "augment": -11.343, "time_labels": -9.931}, "residual",
    ),
}  # fmt: skip


def main() -> None:
    """Print the loss of some encodings, their distance from the optimum, and their calibration."""
    problem = PROBLEMS[(sys.argv[1:] or ["reaction_3"])[0]]
    rounds, names = int((sys.argv[2:] or [60])[0]), sys.argv[3:] or list(SETTINGS)
    nlme.configure()

    def mean(phi):
        return problem.mean(phi, problem.times_h)

    missing = uniform_number_missing(problem.most_missing)
    simulator = FunctionSimulator(problem.times_h, 2, mean, problem.sd, missing)
    complete = FunctionSimulator(problem.times_h, 2, mean, problem.sd)
    phi, y = simulated(simulator, 0, TEST, seed=9, stream="test")
    exact = problem.exact(problem, phi, y)
    in_published_units = problem.log_volume(phi) - np.log(2 * np.pi) - exact
    optimum, error = in_published_units.mean(), in_published_units.std() / TEST**0.5
    print(f"exact optimum {optimum:.3f} (standard error {error:.3f})", flush=True)
    for name in names:
        began = time.process_time()
        settings = replace(SETTINGS[name], rounds=rounds)
        if settings.summary == "dense":
            settings = replace(settings, summary=problem.summary)
        with tempfile.TemporaryDirectory() as folder:
            trained_on = complete if name == BLIND else simulator
            network, _ = train(trained_on, settings, seed=1, folder=Path(folder))
        seconds = time.process_time() - began
        gap = exact - network.log_density(phi, y)
        draws, _ = network.sample(y, DRAWS, seed=2, stream="draws")
        table = calibration_table(phi, draws, np.isfinite(y), ["first", "second"])
        least, width = table.query("missing == 'all'")["p"].min(), 1.96 * gap.std() / TEST**0.5
        published = f"(published {problem.published[name]})" if name in problem.published else ""
        print(
            f"{name:12} loss {optimum + gap.mean():.3f} {published}, above the optimum by {gap.mean():.4f} "
            f"± {width:.4f} nat; least p of ranks {least:.2g}; {seconds:.0f} CPU s",
            flush=True,
        )


if __name__ == "__main__":
    main()
