"""Information of records about the random effects of their subjects, in the forms that objectives need.

Indexing the evidence of a split gives the evidence of some of its subjects.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from covary.nlme.likelihood import RecordLikelihood

Rows = Int[np.ndarray, " row"] | slice


@runtime_checkable
class Evidence(Protocol):
    """Information about the random effects of some subjects."""

    def __len__(self) -> int: ...

    def __getitem__(self, subjects: Rows) -> "Evidence": ...

    def guess(self) -> Float[np.ndarray, "subject k"]:
        """One value for each subject's random effects."""

    def arrays(self) -> list[np.ndarray]:
        """What identifies the evidence."""


@dataclass(frozen=True)
class Targets:
    """Values to predict: empirical Bayes estimates, or the random effects themselves."""

    value: Float[np.ndarray, "subject k"]

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, subjects: Rows) -> "Targets":
        return Targets(self.value[subjects])

    def guess(self) -> Float[np.ndarray, "subject k"]:
        """The targets."""
        return self.value

    def arrays(self) -> list[np.ndarray]:
        """What identifies the evidence."""
        return [self.value]


@dataclass(frozen=True)
class Posteriors:
    """Draws from p(η | y) under the prior N(0, Ω), and the likelihood of the records itself.

    `log_marginal` is log p(y), with the same constant as the values of the likelihood; it is NaN for a
    subject without draws. `rows` are the rows of the subjects in the records of the likelihood.
    """

    draws: Float[np.ndarray, "subject draw k"]
    log_marginal: Float[np.ndarray, " subject"]
    likelihood: RecordLikelihood
    rows: Int[np.ndarray, " subject"]

    @classmethod
    def of(
        cls,
        draws: Float[np.ndarray, "subject draw k"],
        log_marginal: Float[np.ndarray, " subject"],
        likelihood: RecordLikelihood,
    ) -> "Posteriors":
        """Posteriors of the first subjects of the likelihood's records. Subjects without draws have NaN."""
        known = np.nan_to_num(draws).astype(np.float32, copy=False)
        return cls(known, log_marginal, likelihood, np.arange(len(draws)))

    def __len__(self) -> int:
        return len(self.draws)

    def __getitem__(self, subjects: Rows) -> "Posteriors":
        return Posteriors(
            self.draws[subjects], self.log_marginal[subjects], self.likelihood, self.rows[subjects]
        )

    def guess(self) -> Float[np.ndarray, "subject k"]:
        """Posterior means."""
        return self.draws.mean(axis=1)

    def arrays(self) -> list[np.ndarray]:
        """What identifies the evidence."""
        return [self.draws, self.log_marginal]
