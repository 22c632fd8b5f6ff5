"""Mean average precision: are replicates, or compounds of one mode, nearer than the others?

Kalinin et al. 2025, doi:10.1038/s41467-025-60306-2.
"""

from functools import lru_cache

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64
from scipy.stats import false_discovery_control

from covary import rng


def average_precision(relevant: Bool[np.ndarray, "ranking rank"]) -> Float64[np.ndarray, " ranking"]:
    """Mean of the precision at the ranks of relevant items; NaN where there is none."""
    hits = relevant.cumsum(axis=1)
    precision = hits / np.arange(1, relevant.shape[1] + 1)
    count = relevant.sum(axis=1)
    total = np.where(relevant, precision, 0.0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(relevant), np.nan), where=count > 0)


def expected_average_precision(relevant: int, ranks: int) -> float:
    """Mean of the average precision if the order is random: [(M-1)/(L-1)·(L - H_L) + H_L]/L.

    M items of L are relevant; H_L is the harmonic number. Raises ValueError unless 1 ≤ M ≤ L.
    """
    if not 1 <= relevant <= ranks:
        raise ValueError(f"expected 1 ≤ relevant ≤ ranks, got {relevant} and {ranks}")
    if ranks == 1:
        return 1.0
    harmonic = float((1 / np.arange(1, ranks + 1)).sum())
    return ((relevant - 1) / (ranks - 1) * (ranks - harmonic) + harmonic) / ranks


@lru_cache(maxsize=1000)
def random_average_precision(
    relevant: int, ranks: int, draws: int, seed: int
) -> Float64[np.ndarray, " draw"]:
    """Average precisions of random orders, sorted; not to be written to.

    They are kept, since many queries have as many items, whatever the features.
    """
    random = rng.generator(seed, f"average_precision/{relevant}/{ranks}")
    order = random.permuted(np.tile(np.arange(ranks) < relevant, (draws, 1)), axis=1)
    found = np.sort(average_precision(order))
    found.flags.writeable = False
    return found


def retrieval(
    distance: Float[np.ndarray, "query item"],
    positive: Bool[np.ndarray, "query item"],
    negative: Bool[np.ndarray, "query item"],
    *,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """How well each query ranks its positive items before its negative ones.

    Items that are neither do not count. Returns one row per query: average_precision, expected (in a random
    order), positives, items, p_value (share of random orders that are as good) and q_value (Benjamini and
    Hochberg); NaN for a query without positive or without negative items.
    """
    rows = []
    for away, wanted, unwanted in zip(distance, positive, negative, strict=True):
        counted = wanted | unwanted
        n, ranks = int(wanted.sum()), int(counted.sum())
        if not 0 < n < ranks:
            rows.append((np.nan, np.nan, n, ranks, np.nan))
            continue
        order = np.argsort(away[counted], kind="stable")
        found = average_precision(wanted[counted][order][None])[0]
        null = random_average_precision(n, ranks, draws, seed)
        as_good = draws - np.searchsorted(null, found - 1e-12)
        p = (as_good + 1) / (draws + 1)
        rows.append((found, expected_average_precision(n, ranks), n, ranks, p))
    columns = ["average_precision", "expected", "positives", "items", "p_value"]
    table = pd.DataFrame(rows, columns=columns)
    tested = table["p_value"].notna()
    table["q_value"] = np.nan
    if tested.any():
        table.loc[tested, "q_value"] = false_discovery_control(table.loc[tested, "p_value"])
    return table
