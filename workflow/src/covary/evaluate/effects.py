"""The tables of the association report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64

from covary.dataset.association import explainable_fraction
from covary.evaluate.metrics import (
    POOLED,
    check_rows,
    mse_of_sums,
    pooled_first,
    r2_of_sums,
    side_by_side,
    subject_statistics,
    within_normal_interval,
)
from covary.resampling import Resamples, percentile_interval

LEVELS = (0.5, 0.8, 0.95)


@dataclass(frozen=True)
class RandomEffects:
    """Random effects of the same test subjects at one noise level; arrays of (subject, random_effect).

    `names` are those of the random effects in the longitudinal model, in order. `eta_pred` has one array per
    predictor, by name, and `covariance` the covariance of its errors that each predictor states:
    eta_hat | image ~ N(eta_pred, covariance).
    """

    noise_variance: float
    names: Sequence[str]
    eta_hat: Float[np.ndarray, "subject random_effect"]
    eta_approx: Float[np.ndarray, "subject random_effect"]
    eta_pred: Mapping[str, Float[np.ndarray, "subject random_effect"]]
    covariance: Mapping[str, Float[np.ndarray, "random_effect random_effect"]]


def random_effects_table(levels: Sequence[RandomEffects], resamples: Resamples) -> pd.DataFrame:
    """Agreement of random effects with 95 % bootstrap intervals over subjects (the paper's Table 1).

    Per noise level and pair of terms, (eta_hat, eta_pred), (eta_hat, eta_approx), (eta_approx, eta_pred), one
    row for `all` random effects, pooled as in the paper, and one for each, by name. R² is the share
    of term_1's variance that term_2 explains. Rows of (eta_hat, eta_pred) also have the theoretical maximum
    1/(1 + σ²) and the fraction of it that was reached. The column `predictor` is missing where no predictor
    is involved.

    Raises ValueError if there is nothing to compare, if shapes differ, or if a value is not finite.
    """
    rows, statistics = [], []
    for level in levels:
        for predictor, term_1, term_2, reference, estimate in _comparisons(level):
            rows.append((level.noise_variance, predictor, term_1, term_2))
            statistics.append(subject_statistics(reference, estimate))
    point, replicates = _point_and_replicates(statistics, resamples)

    names = [POOLED, *levels[0].names]
    table = pd.DataFrame(
        [(*row, name) for row in rows for name in names],
        columns=["noise_variance", "predictor", "term_1", "term_2", "random_effect"],
    )
    for name, of_sums in (("mse", mse_of_sums), ("r2", r2_of_sums)):
        values = of_sums(replicates, resamples.n_subjects).reshape(len(replicates), -1)
        table[name] = of_sums(point, resamples.n_subjects).ravel()
        table[f"{name}_low"], table[f"{name}_high"] = percentile_interval(values)
    from_image = (table["term_1"] == "eta_hat") & (table["term_2"] == "eta_pred")
    table["theoretical_max"] = table["noise_variance"].map(explainable_fraction).where(from_image)
    table["fraction_of_max"] = table["r2"] / table["theoretical_max"]
    return table


def comparison_table(levels: Sequence[RandomEffects], resamples: Resamples) -> pd.DataFrame:
    """Differences in R²(eta_hat, eta_pred) between predictors, with paired intervals.

    One row per noise level, pair of predictors and random effect (`all`: pooled): noise_variance,
    predictor_1, predictor_2, random_effect, difference (of predictor_2 less predictor_1), low, high. Empty
    with one predictor. Raises ValueError as `random_effects_table` does.
    """
    columns = ["noise_variance", "predictor_1", "predictor_2", "random_effect", "difference", "low", "high"]
    parts = []
    for level in levels:
        predictors = list(level.eta_pred)
        if len(predictors) < 2:
            continue
        statistics = [_checked_statistics(level, name) for name in predictors]
        sums, replicates = _point_and_replicates(statistics, resamples)
        values, resampled = (r2_of_sums(s, resamples.n_subjects) for s in (sums, replicates))
        for i, j in combinations(range(len(predictors)), 2):
            low, high = percentile_interval(resampled[:, j] - resampled[:, i])
            for effect, name in enumerate([POOLED, *level.names]):
                row = (level.noise_variance, predictors[i], predictors[j], name)
                parts.append((*row, values[j, effect] - values[i, effect], low[effect], high[effect]))
    return pd.DataFrame(parts, columns=columns)


def calibration_table(levels: Sequence[RandomEffects], resamples: Resamples) -> pd.DataFrame:
    """Coverage of predictive intervals of the random effects, with 95 % bootstrap intervals.

    One row per noise level, predictor, nominal level and random effect (`all`: the share over all of them):
    noise_variance, predictor, level, random_effect, coverage, low, high, and sd, the standard deviation
    that the predictor states (`all`: root mean square). Raises ValueError as `random_effects_table` does.
    """
    rows, covered = [], []
    for level in levels:
        for predictor, eta_pred in level.eta_pred.items():
            check_rows(f"eta_pred ({predictor}) at σ² = {level.noise_variance:g}", eta_pred, level.eta_hat)
            variance = np.diag(level.covariance[predictor]).astype(np.float64)
            sds = np.sqrt([variance.mean(), *variance])
            for nominal in LEVELS:
                covered.append(within_normal_interval(level.eta_hat, eta_pred, np.sqrt(variance), nominal))
                rows += [
                    (level.noise_variance, predictor, nominal, name, sd)
                    for name, sd in zip([POOLED, *level.names], sds, strict=True)
                ]
    point, replicates = _point_and_replicates(covered, resamples)
    table = pd.DataFrame(rows, columns=["noise_variance", "predictor", "level", "random_effect", "sd"])
    table["coverage"] = pooled_first(point / resamples.n_subjects).ravel()
    shares = pooled_first(replicates / resamples.n_subjects).reshape(resamples.resamples, -1)
    table["low"], table["high"] = percentile_interval(shares)
    return table


def _comparisons(level: RandomEffects):
    where = f"at σ² = {level.noise_variance:g}"
    check_rows(f"eta_approx {where}", level.eta_approx, level.eta_hat)
    for predictor, eta_pred in level.eta_pred.items():
        check_rows(f"eta_pred ({predictor}) {where}", eta_pred, level.eta_hat)
        yield predictor, "eta_hat", "eta_pred", level.eta_hat, eta_pred
    yield None, "eta_hat", "eta_approx", level.eta_hat, level.eta_approx
    for predictor, eta_pred in level.eta_pred.items():
        yield predictor, "eta_approx", "eta_pred", level.eta_approx, eta_pred


def _checked_statistics(level: RandomEffects, predictor: str) -> Float64[np.ndarray, "subject statistic"]:
    eta_pred = level.eta_pred[predictor]
    check_rows(f"eta_pred ({predictor}) at σ² = {level.noise_variance:g}", eta_pred, level.eta_hat)
    return subject_statistics(level.eta_hat, eta_pred)


def _point_and_replicates(
    statistics: list[np.ndarray], resamples: Resamples
) -> tuple[Float64[np.ndarray, "row statistic"], Float64[np.ndarray, "resample row statistic"]]:
    """Sums over the subjects, and over those of each resample, of equally wide statistics."""
    stacked = side_by_side(statistics)
    shape = (len(statistics), statistics[0].shape[1])
    return stacked.sum(axis=0).reshape(shape), resamples.sums(stacked).reshape(-1, *shape)
