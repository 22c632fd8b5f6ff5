"""Whether draws from posteriors are calibrated, and how sharp they are.

Parameters θ are drawn from the prior, a record is simulated from each, and its posterior is drawn from. If
the draws are right, the rank of θ among them is uniform (simulation-based calibration, Talts et al. 2018).
"""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.stats import chi2

DRAWS, BINS = 249, 25  # 250 ranks in bins of ten
LEVELS = (0.5, 0.8, 0.9, 0.95)
STRATA = {"0": (0.0, 0.0), "to 30 %": (1e-9, 0.3), "to 60 %": (0.3 + 1e-9, 0.6)}


def ranks(
    truth: Float[np.ndarray, "subject k"], draws: Float[np.ndarray, "subject draw k"]
) -> Int[np.ndarray, "subject k"]:
    """How many draws lie below the truth."""
    return np.sum(draws < truth[:, None], axis=1)


def rank_test(
    rank: Int[np.ndarray, "subject k"], n_draws: int = DRAWS, bins: int = BINS
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """χ² of the ranks against a uniform distribution over `bins`, and its tail probability.

    Raises ValueError if ranks do not fill the bins evenly.
    """
    if (n_draws + 1) % bins:
        raise ValueError(f"n_draws + 1 must be a multiple of {bins}, got {n_draws} draws")
    counts = np.stack([np.bincount(r * bins // (n_draws + 1), minlength=bins) for r in rank.T])
    expected = len(rank) / bins
    statistic = np.sum((counts - expected) ** 2, axis=1) / expected
    return statistic, chi2.sf(statistic, bins - 1)


def coverage(
    truth: Float[np.ndarray, "subject k"], draws: Float[np.ndarray, "subject draw k"], level: float
) -> Float[np.ndarray, " k"]:
    """Share of subjects whose truth lies in the central interval between two order statistics of the draws.

    With n draws the interval between the a-th from below and from above holds the truth with probability
    1 - 2a/(n + 1); a is rounded, and the share is that of `level` up to 1/(n + 1).
    """
    n = draws.shape[1]
    a = round((1 - level) / 2 * (n + 1))
    rank = ranks(truth, draws)
    return np.mean((rank >= a) & (rank <= n - a), axis=0)


def calibration_table(
    truth: Float[np.ndarray, "subject k"],
    draws: Float[np.ndarray, "subject draw k"],
    present: Bool[np.ndarray, "subject time"],
    names: list[str],
) -> pd.DataFrame:
    """Calibration and sharpness, by share of missing visits; one row per stratum and parameter.

    Columns: missing, parameter, subjects, chi2, p, coverage_50 … coverage_95, contraction (1 - mean posterior
    variance over prior variance), rmse of the posterior mean. Strata without subjects have no row.
    """
    share = 1 - present.mean(axis=1)
    rows = []
    for name, (low, high) in {"all": (0.0, 1.0), **STRATA}.items():
        some = (share >= low) & (share <= high)
        if not some.any():
            continue
        t, d = truth[some], draws[some]
        statistic, p = rank_test(ranks(t, d), d.shape[1])
        covered = {f"coverage_{100 * level:.0f}": coverage(t, d, level) for level in LEVELS}
        contraction = 1 - d.var(axis=1).mean(axis=0) / truth.var(axis=0)
        rmse = np.sqrt(np.mean((d.mean(axis=1) - t) ** 2, axis=0))
        columns = {"chi2": statistic, "p": p, **covered, "contraction": contraction, "rmse": rmse}
        part = pd.DataFrame({"missing": name, "parameter": names, "subjects": int(some.sum()), **columns})
        rows.append(part)
    return pd.concat(rows, ignore_index=True)
