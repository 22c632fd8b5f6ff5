"""Bootstrap over subjects.

A subject is drawn with all that belongs to it, so that dependence between its random effects, noise levels
or predictors stays in the resample.
"""

import numpy as np
from jaxtyping import Float64

from covary import rng

_RESAMPLES_AT_ONCE = 32  # bounds memory: 32 counts of 8 bytes a subject


def resampled_sums(
    statistics: Float64[np.ndarray, "subject statistic"], *, seed: int, resamples: int
) -> Float64[np.ndarray, "resample statistic"]:
    """Sums over subjects of each column, in `resamples` draws of as many subjects with replacement.

    Resample b depends on the seed, b and the number of subjects only. Tables over the same subjects hence
    share their resamples, and differences between their rows are paired.
    """
    n_subjects, n_statistics = statistics.shape
    sums = np.empty((resamples, n_statistics))
    for start in range(0, resamples, _RESAMPLES_AT_ONCE):
        stop = min(start + _RESAMPLES_AT_ONCE, resamples)
        counts = np.stack([_counts(seed, b, n_subjects) for b in range(start, stop)])
        sums[start:stop] = counts @ statistics
    return sums


def percentile_interval(
    replicates: Float64[np.ndarray, "resample *statistic"], level: float = 0.95
) -> tuple[Float64[np.ndarray, "*statistic"] | np.float64, Float64[np.ndarray, "*statistic"] | np.float64]:
    """Lower and upper end of the percentile interval over bootstrap replicates."""
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(replicates, [tail, 1.0 - tail], axis=0)
    return low, high


def _counts(seed: int, resample: int, n_subjects: int) -> Float64[np.ndarray, " subject"]:
    drawn = rng.generator(seed, "bootstrap", resample).integers(0, n_subjects, size=n_subjects)
    return np.bincount(drawn, minlength=n_subjects).astype(np.float64)
