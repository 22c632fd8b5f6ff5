"""The tables of the association report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64

from covary import rng
from covary.association import explainable_fraction
from covary.evaluate.bootstrap import percentile_interval, resampled_sums
from covary.evaluate.metrics import (
    N_STATISTICS,
    conditional_nll,
    mse_of_sums,
    r2_of_sums,
    subject_statistics,
)


@dataclass(frozen=True)
class RandomEffects:
    """Random effects of the same test subjects at one noise level; arrays of (subject, random_effect).

    `eta_pred` has one array per predictor, by name.
    """

    noise_variance: float
    eta_hat: Float[np.ndarray, "subject random_effect"]
    eta_approx: Float[np.ndarray, "subject random_effect"]
    eta_pred: Mapping[str, Float[np.ndarray, "subject random_effect"]]


@dataclass(frozen=True)
class Records:
    """Outcomes of the same test subjects at one noise level, simulated with residual error; (subject, time).

    Each is driven by the random effects of one population: `true` by eta_hat (the observation itself),
    `predicted` by eta_pred (one array per predictor, by name), `approximate` by eta_approx, `average` by
    zeros, `random` by draws from N(0, I).
    """

    noise_variance: float
    true: Float[np.ndarray, "subject time"]
    predicted: Mapping[str, Float[np.ndarray, "subject time"]]
    approximate: Float[np.ndarray, "subject time"]
    average: Float[np.ndarray, "subject time"]
    random: Float[np.ndarray, "subject time"]


def random_effects_table(levels: Sequence[RandomEffects], *, seed: int, resamples: int) -> pd.DataFrame:
    """Agreement of random effects with 95 % bootstrap intervals over subjects (the paper's Table 1).

    Three rows per noise level: (eta_hat, eta_pred), (eta_hat, eta_approx), (eta_approx, eta_pred). R² is the
    share of term_1's variance that term_2 explains. The theoretical maximum is 1/(1 + σ²) and stands, with
    the fraction of it that was reached, where an image is asked to explain eta_hat. With more than one
    predictor, a column `predictor` follows the noise variance; it is missing where no predictor is involved.

    Raises ValueError if there is nothing to compare, if shapes differ, or if a value is not finite.
    """
    rows, statistics = [], []
    for level in levels:
        for predictor, term_1, term_2, reference, estimate in _comparisons(level):
            rows.append((level.noise_variance, predictor, term_1, term_2))
            statistics.append(subject_statistics(reference, estimate))
    stacked = _side_by_side(statistics)
    shape = (-1, len(rows), N_STATISTICS)
    k = levels[0].eta_hat.shape[1]
    sums = stacked.sum(axis=0).reshape(shape)[0]
    replicates = resampled_sums(stacked, seed=seed, resamples=resamples).reshape(shape)

    table = pd.DataFrame(rows, columns=["noise_variance", "predictor", "term_1", "term_2"])
    for name, of_sums in (("mse", mse_of_sums), ("r2", r2_of_sums)):
        low, high = percentile_interval(of_sums(replicates, k))
        table[name], table[f"{name}_low"], table[f"{name}_high"] = of_sums(sums, k), low, high
    from_image = (table["term_1"] == "eta_hat") & (table["term_2"] == "eta_pred")
    table["theoretical_max"] = table["noise_variance"].map(explainable_fraction).where(from_image)
    table["fraction_of_max"] = table["r2"] / table["theoretical_max"]
    return _without_lone_predictor(table, levels[0].eta_pred)


def longitudinal_nll_table(
    levels: Sequence[Records],
    prediction: Float[np.ndarray, "subject time"],
    *,
    residual_sd: float,
    seed: int,
    resamples: int,
) -> pd.DataFrame:
    """Mean conditional negative log-likelihood with 95 % bootstrap intervals (the paper's Table 2).

    `prediction` is f(eta), what the random effects in the image say before any noise is added. Every
    population's outcome is scored under it, with `residual_sd` = σ_ε. Columns: noise_variance, population,
    nll, nll_low, nll_high; with more than one predictor also `predictor`, after the noise variance.

    Raises ValueError if there is nothing to score, if shapes differ, or if a value is not finite.
    """
    rows, scores = [], []
    for level in levels:
        for predictor, population, observation in _populations(level):
            _check(f"{population} at σ² = {level.noise_variance:g}", observation, prediction)
            rows.append((level.noise_variance, predictor, population))
            scores.append(conditional_nll(observation, prediction, residual_sd)[:, None])
    stacked = _side_by_side(scores)
    means = resampled_sums(stacked, seed=seed, resamples=resamples) / len(stacked)

    table = pd.DataFrame(rows, columns=["noise_variance", "predictor", "population"])
    table["nll"] = stacked.mean(axis=0)
    table["nll_low"], table["nll_high"] = percentile_interval(means)
    return _without_lone_predictor(table, levels[0].predicted)


def random_population(
    noise_variance: float, start: int, stop: int, n_random_effects: int, *, seed: int
) -> Float64[np.ndarray, "subject random_effect"]:
    """Random effects of the `random` population for the subjects `start … stop - 1`: draws from N(0, I).

    Each noise level has draws of its own.
    """
    return rng.normal(seed, f"random_population/{noise_variance:g}", start, stop, (n_random_effects,))


def _comparisons(level: RandomEffects):
    where = f"at σ² = {level.noise_variance:g}"
    _check(f"eta_approx {where}", level.eta_approx, level.eta_hat)
    for predictor, eta_pred in level.eta_pred.items():
        _check(f"eta_pred ({predictor}) {where}", eta_pred, level.eta_hat)
        yield predictor, "eta_hat", "eta_pred", level.eta_hat, eta_pred
    yield None, "eta_hat", "eta_approx", level.eta_hat, level.eta_approx
    for predictor, eta_pred in level.eta_pred.items():
        yield predictor, "eta_approx", "eta_pred", level.eta_approx, eta_pred


def _populations(level: Records):
    yield None, "true", level.true
    for predictor, observation in level.predicted.items():
        yield predictor, "predicted", observation
    yield None, "approximate", level.approximate
    yield None, "average", level.average
    yield None, "random", level.random


def _check(name: str, array: np.ndarray, reference: np.ndarray) -> None:
    if array.shape != reference.shape:
        raise ValueError(f"{name}: expected an array of shape {reference.shape}, got {array.shape}")
    for values in (array, reference):
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if bad.size:
            what = name if values is array else f"the reference of {name}"
            raise ValueError(
                f"{what}: {bad.size} subjects have values that are not finite, first is row {bad[0]}"
            )


def _side_by_side(columns: list[np.ndarray]) -> Float64[np.ndarray, "subject statistic"]:
    if not columns or not len(columns[0]):
        raise ValueError("evaluation needs at least one noise level and one test subject")
    sizes = {len(column) for column in columns}
    if len(sizes) > 1:
        raise ValueError(f"noise levels must have the same test subjects, got {sorted(sizes)} subjects")
    return np.concatenate(columns, axis=1)


def _without_lone_predictor(table: pd.DataFrame, predictors: Mapping[str, np.ndarray]) -> pd.DataFrame:
    return table.drop(columns="predictor") if len(predictors) == 1 else table
