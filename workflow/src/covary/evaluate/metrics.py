"""Agreement of random effects and of records.

Mean squared error and R² are functions of sums over subjects. The same functions therefore give the value on
all subjects and its bootstrap distribution.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64

from covary import nlme
from covary.errors import UserError
from covary.resampling import Resamples, percentile_interval


def mean_squared_error(
    reference: Float[np.ndarray, "subject random_effect"],
    estimate: Float[np.ndarray, "subject random_effect"],
) -> float:
    """Mean of (reference - estimate)² over subjects and random effects."""
    sums = subject_statistics(reference, estimate).sum(axis=0)
    return float(mse_of_sums(sums, len(reference))[0])


def r2(
    reference: Float[np.ndarray, "subject random_effect"],
    estimate: Float[np.ndarray, "subject random_effect"],
) -> float:
    """Share of the reference's variance that the estimate explains, 1 - SS_res / SS_tot.

    SS_tot is the sum of squares around one mean over subjects and random effects. R² is not symmetric in its
    arguments.
    """
    sums = subject_statistics(reference, estimate).sum(axis=0)
    return float(r2_of_sums(sums, len(reference))[0])


def r2_table(
    reference: Float[np.ndarray, "subject random_effect"],
    estimate: Float[np.ndarray, "subject random_effect"],
    random_effects: Sequence[str],
    *,
    seed: int,
    resamples: int = 1000,
) -> pd.DataFrame:
    """R² of all random effects together and of each, with 95 % intervals from resamples of subjects.

    Columns random_effect, r2, low, high; the first row is `all`.
    """
    statistics = subject_statistics(reference, estimate)
    n = len(statistics)
    resampled = r2_of_sums(Resamples(n, seed=seed, resamples=resamples).sums(statistics), n)
    low, high = percentile_interval(resampled)
    values = {"r2": r2_of_sums(statistics.sum(axis=0), n), "low": low, "high": high}
    return pd.DataFrame({"random_effect": [POOLED, *random_effects], **values})


def conditional_nll(
    observation: Float[np.ndarray, "subject time"],
    prediction: Float[np.ndarray, "subject time"],
    residual: nlme.ResidualError,
) -> Float64[np.ndarray, " subject"]:
    """Negative log-likelihood of each subject's record, given its random effects: -Σ_t log p(y_t | f_t).

    The sum is over the visits that are present; an observation that is NaN is a missing one.

    The prediction is f(eta). On the scale `transform` of the residual error, y is normal with variance R(f);
    the likelihood is that of y itself.
    """
    present, f = np.isfinite(observation), prediction
    y = np.where(present, observation.astype(np.float64), 1.0)  # any number that the transform takes
    variance = np.asarray(residual.variance(f))
    deviation = np.asarray(residual.transform(y)) - np.asarray(residual.transform(f))
    squares = 0.5 * np.where(present, (deviation / np.sqrt(variance)) ** 2, 0.0).sum(axis=1)
    if residual.interacts:
        each = 0.5 * math.log(2 * math.pi) + 0.5 * np.log(variance)
        constants = np.where(present, each, 0.0).sum(axis=1)
    else:  # one variance for all, so that nothing is added up
        each = 0.5 * math.log(2 * math.pi) + math.log(math.sqrt(variance.flat[0]))
        constants = present.sum(axis=1) * each
    jacobian = np.where(present, np.asarray(residual.log_jacobian(y)), 0.0)
    return squares + constants - jacobian.sum(axis=1)


def crps(
    observation: Float[np.ndarray, "subject time"],
    ensemble: Float[np.ndarray, "#subject draw time"],
) -> Float64[np.ndarray, "subject time"]:
    """Continuous ranked probability score of a predictive ensemble, in the units of the observation.

    The fair estimator, E|X - y| - ½ E|X - X'| with X ≠ X', which does not depend on the number of draws
    (Ferro 2014, doi:10.1002/qj.2270). Needs two draws or more.
    """
    draws = ensemble.shape[1]
    error = np.abs(ensemble - observation[:, None]).mean(axis=1, dtype=np.float64)
    # Σ|x_i - x_j| over all ordered pairs, from the sorted draws.
    weight = 2.0 * (2 * np.arange(1, draws + 1) - draws - 1)
    spread = np.einsum("sdt,d->st", np.sort(ensemble, axis=1).astype(np.float64), weight)
    return error - 0.5 * spread / (draws * (draws - 1))


def within_normal_interval(
    reference: Float[np.ndarray, "subject random_effect"],
    mean: Float[np.ndarray, "subject random_effect"],
    sd: Float[np.ndarray, " random_effect"],
    level: float,
) -> Float64[np.ndarray, "subject random_effect"]:
    """1 where the reference lies in the central interval of N(mean, sd²) with probability `level`, else 0."""
    half_width = NormalDist().inv_cdf(0.5 + level / 2)
    return (np.abs(reference - mean) <= half_width * sd).astype(np.float64)


def within_ensemble_interval(
    observation: Float[np.ndarray, "subject time"],
    ensemble: Float[np.ndarray, "subject draw time"],
    level: float,
) -> Float64[np.ndarray, "subject time"]:
    """1 where the observation's rank among the draws is in the central share `level` of all ranks, else 0.

    Exact where `level` is a multiple of 2/(draws + 1): an observation from the same distribution as the draws
    is inside with probability `level`.
    """
    draws = ensemble.shape[1]
    rank = (ensemble < observation[:, None]).sum(axis=1)
    outside = round((1 - level) / 2 * (draws + 1))
    return ((rank >= outside) & (rank <= draws - outside)).astype(np.float64)


def subject_statistics(
    reference: Float[np.ndarray, "subject random_effect"],
    estimate: Float[np.ndarray, "subject random_effect"],
) -> Float64[np.ndarray, "subject statistic"]:
    """One row per subject, whose sums are all that `mse_of_sums` and `r2_of_sums` need.

    The columns are (a - b)², a and a² of each random effect. The overall mean is subtracted from a, the
    reference, to avoid cancellation in the sums.
    """
    a = reference.astype(np.float64) - reference.mean(dtype=np.float64)
    return np.concatenate([(reference.astype(np.float64) - estimate) ** 2, a, a**2], axis=1)


def mse_of_sums(
    sums: Float64[np.ndarray, "*resample statistic"], n_subjects: int
) -> Float64[np.ndarray, "*resample row"]:
    """Mean squared error from sums of `subject_statistics`: pooled, then of each random effect."""
    squared_error, _, _ = _pooled_first(sums)
    return squared_error / _counts(sums, n_subjects)


def r2_of_sums(
    sums: Float64[np.ndarray, "*resample statistic"], n_subjects: int
) -> Float64[np.ndarray, "*resample row"]:
    """R² from sums of `subject_statistics`: pooled (one mean for all), then of each random effect."""
    squared_error, first, second = _pooled_first(sums)
    return 1.0 - squared_error / (second - first**2 / _counts(sums, n_subjects))


def _pooled_first(sums: Float64[np.ndarray, "*resample statistic"]) -> np.ndarray:
    """(3, *resample, 1 + k): each kind of sum, over all random effects and then of each."""
    kinds = np.stack(np.split(sums, 3, axis=-1))
    return np.concatenate([kinds.sum(axis=-1, keepdims=True), kinds], axis=-1)


def _counts(sums: np.ndarray, n_subjects: int) -> Float64[np.ndarray, " row"]:
    k = sums.shape[-1] // 3
    return np.array([n_subjects * k, *[n_subjects] * k], dtype=np.float64)


POOLED = "all"


def pooled_first(values: Float64[np.ndarray, "*row k"]) -> Float64[np.ndarray, "*row 1+k"]:
    """The mean over all random effects in front of each of them."""
    return np.concatenate([values.mean(axis=-1, keepdims=True), values], axis=-1)


def check_rows(
    name: str, array: np.ndarray, reference: np.ndarray, present: np.ndarray | bool = True
) -> None:
    """Raise ValueError unless the arrays have the same shape and their values, where present, are finite."""
    if array.shape != reference.shape:
        raise ValueError(f"{name}: expected an array of shape {reference.shape}, got {array.shape}")
    for values in (array, reference):
        bad = np.flatnonzero((~np.isfinite(values) & present).any(axis=1))
        if bad.size:
            what = name if values is array else f"the reference of {name}"
            raise UserError(
                f"{what}: {bad.size} subjects have values that are not finite, first is row {bad[0]}"
            )


def side_by_side(columns: list[np.ndarray]) -> Float64[np.ndarray, "subject statistic"]:
    """Columns of the same subjects as one array. Raises ValueError if there are none or subjects differ."""
    if not columns or not len(columns[0]):
        raise ValueError("evaluation needs at least one noise level and one test subject")
    sizes = {len(column) for column in columns}
    if len(sizes) > 1:
        raise ValueError(f"noise levels must have the same test subjects, got {sorted(sizes)} subjects")
    return np.concatenate(columns, axis=1)
