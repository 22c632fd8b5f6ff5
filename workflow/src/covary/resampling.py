"""Bootstrap over subjects.

A subject is drawn together with all of its values. The dependence between its random effects, noise levels
and predictors is therefore kept in the resample.
"""

from functools import cached_property

import numpy as np
from jaxtyping import Float64, UInt8

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
