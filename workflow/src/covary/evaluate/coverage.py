"""Whether draws from posteriors are calibrated, and how sharp they are.

Parameters θ are drawn from the prior, a record is simulated from each, and its posterior is drawn from. If
the draws are right, the rank of θ among them is uniform (simulation-based calibration, Talts et al. 2018).
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.special import chdtrc

DRAWS, BINS = 249, 25  # 250 ranks in bins of ten
LEVELS = (0.5, 0.8, 0.9, 0.95)
STRATA = {
    "0": (0.0, 0.0),
    "to 30 %": (1e-9, 0.3),
    "to 60 %": (0.3 + 1e-9, 0.6),
    "over 60 %": (0.6 + 1e-9, 1.0),
}
ALL, JOINT = "all", "joint"
LEAST = 5 * BINS  # subjects of a stratum: with fewer, χ² has no χ² distribution
# Posteriors of one record that are compared (`evaluate.posterior_checks`).
WEIGHTED, LAPLACE, NETWORK, BLIND = SOURCES = ("weighted", "laplace", "network", "blind")


def ranks(
    truth: Float[np.ndarray, "subject k"], draws: Float[np.ndarray, "subject draw k"]
) -> Int[np.ndarray, "subject k"]:
    """How many draws lie below the truth."""
    return np.sum(draws < truth[:, None], axis=1)


def joint_ranks(
    truth: Float[np.ndarray, "subject k"],
    draws: Float[np.ndarray, "subject draw k"],
    reference: Float[np.ndarray, "subject k"],
) -> Int[np.ndarray, "subject 1"]:
    """How many draws lie nearer to a reference point than the truth does.

    Uniform if the draws are right in all parameters at once, which ranks of single parameters cannot tell
    (TARP, Lemos et al. 2023). Distances are in standard deviations of the prior.
    """
    scale = truth.std(axis=0)
    distance = np.linalg.norm((draws - reference[:, None]) / scale, axis=2)
    return ranks(np.linalg.norm((truth - reference) / scale, axis=1)[:, None], distance[..., None])


def rank_counts(
    rank: Int[np.ndarray, "subject k"], n_draws: int = DRAWS, bins: int = BINS
) -> Int[np.ndarray, "k bin"]:
    """How many subjects have their rank in each of `bins` equal bins.

    Raises ValueError if ranks do not fill the bins evenly.
    """
    if (n_draws + 1) % bins:
        raise ValueError(f"n_draws + 1 must be a multiple of {bins}, got {n_draws} draws")
    return np.stack([np.bincount(r * bins // (n_draws + 1), minlength=bins) for r in rank.T])


def rank_test(
    rank: Int[np.ndarray, "subject k"], n_draws: int = DRAWS, bins: int = BINS
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """χ² of the ranks against a uniform distribution over `bins`, and its tail probability.

    Raises ValueError if ranks do not fill the bins evenly.
    """
    counts = rank_counts(rank, n_draws, bins)
    expected = len(rank) / bins
    statistic = np.sum((counts - expected) ** 2, axis=1) / expected
    return statistic, chdtrc(bins - 1, statistic)


def coverage(
    truth: Float[np.ndarray, "subject k"], draws: Float[np.ndarray, "subject draw k"], level: float
) -> Float[np.ndarray, " k"]:
    """Share of subjects whose truth lies in the central interval between two order statistics of the draws.

    With n draws the interval between the a-th from below and from above holds the truth with probability
    1 - 2a/(n + 1). Where `level` lies between two such intervals, so does the share, by a straight line: its
    expectation is `level` if the draws are right.
    """
    n = draws.shape[1]
    outside = (1 - level) / 2 * (n + 1)
    rank = ranks(truth, draws)
    return _between(outside, lambda a: np.mean((rank >= a) & (rank <= n - a), axis=0))


def _below(rank: Int[np.ndarray, "subject k"], limit: float) -> Float[np.ndarray, " k"]:
    """Share of subjects whose rank is below a limit that need not be a whole number."""
    return _between(limit, lambda a: np.mean(rank < a, axis=0))


def _between(place: float, share: Callable[[int], Float[np.ndarray, " k"]]) -> Float[np.ndarray, " k"]:
    """`share` at a place between two whole numbers, by a straight line."""
    place = round(place, 9)  # 1 - 0.95 is no binary number
    below = math.floor(place)
    return (below + 1 - place) * share(below) + (place - below) * share(below + 1)


def strata_of(present: Bool[np.ndarray, "subject time"]) -> dict[str, Bool[np.ndarray, " subject"]]:
    """Who belongs to each stratum that has enough subjects for χ², and first all of them."""
    share = 1 - present.mean(axis=1)
    members = {name: (share >= low) & (share <= high) for name, (low, high) in STRATA.items()}
    enough = {name: who for name, who in members.items() if who.sum() >= LEAST}
    return {ALL: np.ones(len(share), dtype=bool)} | enough


def calibration_table(
    truth: Float[np.ndarray, "subject k"],
    draws: Float[np.ndarray, "subject draw k"],
    present: Bool[np.ndarray, "subject time"],
    names: list[str],
    reference: Float[np.ndarray, "subject k"] | None = None,
) -> pd.DataFrame:
    """Calibration and sharpness, by share of missing visits; one row per stratum and parameter.

    Columns: missing, parameter, subjects, chi2, p, coverage_50 … coverage_95, contraction (1 - mean posterior
    variance over prior variance), rmse of the posterior mean. Strata of few subjects have no row. With a
    `reference` point for each subject, a row `joint` tests all parameters at once; its coverage is that of
    the balls around the points that hold so large a share of the draws.
    """
    rows = []
    for name, some in strata_of(present).items():
        t, d, n = truth[some], draws[some], int(some.sum())
        statistic, p = rank_test(ranks(t, d), d.shape[1])
        covered = {_column(level): coverage(t, d, level) for level in LEVELS}
        contraction = 1 - d.var(axis=1).mean(axis=0) / truth.var(axis=0)
        rmse = np.sqrt(np.mean((d.mean(axis=1) - t) ** 2, axis=0))
        columns = {"chi2": statistic, "p": p, **covered, "contraction": contraction, "rmse": rmse}
        rows.append(pd.DataFrame({"missing": name, "parameter": names, "subjects": n, **columns}))
        if reference is not None:
            rank = joint_ranks(t, d, reference[some])
            statistic, p = rank_test(rank, d.shape[1])
            covered = {_column(level): _below(rank, level * (d.shape[1] + 1)) for level in LEVELS}
            columns = {"chi2": statistic, "p": p, **covered, "contraction": np.nan, "rmse": np.nan}
            rows.append(pd.DataFrame({"missing": name, "parameter": [JOINT], "subjects": n, **columns}))
    return pd.concat(rows, ignore_index=True)


def _column(level: float) -> str:
    return f"coverage_{100 * level:.0f}"
