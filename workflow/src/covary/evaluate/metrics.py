"""Agreement of random effects and of records.

Mean squared error and R² are functions of sums over subjects. They are written that way once, so that the
value on the subjects and its bootstrap distribution come from the same lines.
"""

import math

import numpy as np
from jaxtyping import Float, Float64


def mean_squared_error(
    reference: Float[np.ndarray, "subject random_effect"],
    estimate: Float[np.ndarray, "subject random_effect"],
) -> float:
    """Mean of (reference - estimate)² over subjects and random effects."""
    sums = subject_statistics(reference, estimate).sum(axis=0)
    return float(mse_of_sums(sums, reference.shape[1]))


def r2(
    reference: Float[np.ndarray, "subject random_effect"],
    estimate: Float[np.ndarray, "subject random_effect"],
) -> float:
    """Share of the reference's variance that the estimate explains, 1 - SS_res / SS_tot.

    SS_tot is taken around one mean, pooled over subjects and random effects. Not symmetric in its arguments.
    """
    sums = subject_statistics(reference, estimate).sum(axis=0)
    return float(r2_of_sums(sums, reference.shape[1]))


def conditional_nll(
    observation: Float[np.ndarray, "subject time"],
    prediction: Float[np.ndarray, "subject time"],
    residual_sd: float,
) -> Float64[np.ndarray, " subject"]:
    """Negative log-likelihood of each subject's record, given its random effects: -Σ_t log N(y_t; f_t, σ_ε²).

    The observation and the prediction f(eta) are in the same units as `residual_sd` = σ_ε.
    """
    z = (observation.astype(np.float64) - prediction) / residual_sd
    return 0.5 * (z**2).sum(axis=1) + observation.shape[1] * (
        0.5 * math.log(2 * math.pi) + math.log(residual_sd)
    )


N_STATISTICS = 4


def subject_statistics(
    reference: Float[np.ndarray, "subject random_effect"],
    estimate: Float[np.ndarray, "subject random_effect"],
) -> Float64[np.ndarray, "subject statistic"]:
    """One row per subject, whose sums are all that `mse_of_sums` and `r2_of_sums` need.

    The columns are 1, Σ(a - b)², Σa and Σa² over random effects, a being the reference less its overall
    mean, which keeps the sums free of cancellation.
    """
    a = reference.astype(np.float64) - reference.mean(dtype=np.float64)
    residual = reference.astype(np.float64) - estimate
    columns = (np.ones(len(a)), (residual**2).sum(axis=1), a.sum(axis=1), (a**2).sum(axis=1))
    return np.stack(columns, axis=1)


def mse_of_sums(
    sums: Float64[np.ndarray, "*resample statistic"], n_random_effects: int
) -> Float64[np.ndarray, "*resample"] | np.float64:
    """Mean squared error from sums of `subject_statistics`."""
    return sums[..., 1] / (sums[..., 0] * n_random_effects)


def r2_of_sums(
    sums: Float64[np.ndarray, "*resample statistic"], n_random_effects: int
) -> Float64[np.ndarray, "*resample"] | np.float64:
    """R² from sums of `subject_statistics`."""
    total = sums[..., 3] - sums[..., 2] ** 2 / (sums[..., 0] * n_random_effects)
    return 1.0 - sums[..., 1] / total
