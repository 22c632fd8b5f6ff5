"""Bootstrap over subjects, and resampling of weighted draws.

In the bootstrap a subject is drawn together with all of its values. The dependence between its random
effects, noise levels and predictors is therefore kept in the resample.
"""

from functools import cached_property

import numpy as np
from jaxtyping import Float, Float64, Int64, UInt8

from covary import rng

_SUBJECTS_AT_ONCE = 512  # their counts as floating-point numbers fit into the cache


class Resamples:
    """Bootstrap resamples of the subjects, shared by all tables over the same subjects.

    A resample has as many subjects as there are, drawn with replacement. Resample b depends on the seed, b
    and the number of subjects only. Differences between rows of a table, or between tables, are therefore
    paired. Sums are kept: a column that occurs in several tables is summed once.
    """

    def __init__(self, n_subjects: int, *, seed: int, resamples: int):
        self.n_subjects, self.seed, self.resamples = n_subjects, seed, resamples
        self._summed: dict[int, Float64[np.ndarray, " resample"]] = {}

    def sums(
        self, statistics: Float64[np.ndarray, "subject statistic"]
    ) -> Float64[np.ndarray, "resample statistic"]:
        """Sums over the subjects of each resample, column by column.

        Raises ValueError if there is not one row per subject.
        """
        if len(statistics) != self.n_subjects:
            raise ValueError(f"statistics: expected {self.n_subjects} subjects, got {len(statistics)}")
        columns = np.ascontiguousarray(statistics.T)
        keys = [hash(column.tobytes()) for column in columns]
        new = dict.fromkeys(key for key in keys if key not in self._summed)
        if new:
            self._summed |= zip(new, self._sum(columns[[keys.index(key) for key in new]]), strict=True)
        return np.stack([self._summed[key] for key in keys], axis=1)

    def _sum(
        self, columns: Float64[np.ndarray, "statistic subject"]
    ) -> Float64[np.ndarray, "statistic resample"]:
        sums = np.zeros((len(columns), self.resamples))
        for start in range(0, self.n_subjects, _SUBJECTS_AT_ONCE):
            part = slice(start, start + _SUBJECTS_AT_ONCE)
            sums += columns[:, part] @ self._counts[part].astype(np.float64)
        return sums

    def means(
        self, statistics: Float64[np.ndarray, "subject statistic"]
    ) -> Float64[np.ndarray, "resample statistic"]:
        """Means over the subjects of each resample."""
        return self.sums(statistics) / self.n_subjects

    @cached_property
    def _counts(self) -> UInt8[np.ndarray, "subject resample"]:
        """How often each subject is in each resample; the chance of more than 255 times is negligible."""
        counts = np.empty((self.resamples, self.n_subjects), dtype=np.uint8)
        for b in range(self.resamples):
            random = rng.generator(self.seed, "bootstrap", b)
            drawn = random.integers(0, self.n_subjects, size=self.n_subjects)
            counts[b] = np.bincount(drawn, minlength=self.n_subjects)
        return np.ascontiguousarray(counts.T)


def percentile_interval(
    replicates: Float64[np.ndarray, "resample *statistic"], level: float = 0.95
) -> tuple[Float64[np.ndarray, "*statistic"] | np.float64, Float64[np.ndarray, "*statistic"] | np.float64]:
    """Lower and upper end of the percentile interval over bootstrap replicates."""
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(replicates, [tail, 1.0 - tail], axis=0)
    return low, high


def systematic(
    weight: Float[np.ndarray, "subject draw"], offset: Float[np.ndarray, "subject 1"], n: int
) -> Int64[np.ndarray, "subject n"]:
    """Numbers of n draws of each subject, in rising order, each as often as its weight says, to within one.

    Systematic resampling (Kitagawa 1996, doi:10.1080/10618600.1996.10474692): the points (i + offset)/n, with
    one offset in (0, 1) per subject, are looked up in the cumulative weights. Weights need not add up to 1.
    """
    cumulative, grid = np.cumsum(weight, axis=1), (np.arange(n) + offset) / n
    chosen = np.stack([np.searchsorted(c / c[-1], g) for c, g in zip(cumulative, grid, strict=True)])
    return np.minimum(chosen, weight.shape[1] - 1)  # without any weight, the last one


def exchangeable(
    weight: Float[np.ndarray, "subject draw"], u: Float[np.ndarray, "subject place"]
) -> Int64[np.ndarray, "subject place-1"]:
    """Numbers of the draws to keep so that equally weighted ones remain, in an order that says nothing.

    `u` are uniform. The first is the offset of `systematic`, and the others, one per draw to keep, shuffle.
    """
    return np.take_along_axis(
        systematic(weight, u[:, :1], u.shape[1] - 1), np.argsort(u[:, 1:], axis=1), axis=1
    )
