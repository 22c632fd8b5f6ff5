"""Draws of p(η | y), whatever made them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64


class Draws(NamedTuple):
    """Posterior draws of each subject, and how many independent draws the weighted proposals are worth.

    `log_marginal` is their estimate of log p(y), without the ½ ln 2π of every observation.
    """

    eta: Float64[np.ndarray, "subject draw k"]
    effective_sample_size: Float64[np.ndarray, " subject"]
    log_marginal: Float64[np.ndarray, " subject"]

    def __repr__(self) -> str:
        n, draws, _ = self.eta.shape
        size = np.median(self.effective_sample_size)
        return f"Draws({n} subjects, {draws} draws each, median effective sample size {size:.0f})"
