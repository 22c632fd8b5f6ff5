"""How well outcomes are forecast: R² of the predictive mean, CRPS, coverage of predictive intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64

from covary import nlme, rng
from covary.dataset.association import explainable_fraction
from covary.errors import UserError
from covary.evaluate.metrics import check_rows, conditional_nll, crps, side_by_side, within_ensemble_interval
from covary.resampling import Resamples, percentile_interval

IDEAL, NO_IMAGE = "ideal", "no_image"
_LEVEL = 0.95


@dataclass(frozen=True)
class Forecasts:
    """Scores of forecasts of the test subjects' outcomes at one noise level, by name of the forecaster.

    Besides the predictors there are two forecasters for comparison: `ideal` is given eta, which is all that
    an image can contain, and `no_image` uses the population only. `scores` are those of `score_forecast`.
    """

    noise_variance: float
    observation: Float[np.ndarray, "subject time"]
    scores: Mapping[str, Float64[np.ndarray, "subject 3"]]


def ideal_forecast(
    eta: Float[np.ndarray, "subject random_effect"], noise_variance: float
) -> tuple[Float[np.ndarray, "subject random_effect"], Float64[np.ndarray, "random_effect random_effect"]]:
    """Mean and covariance of eta_hat given eta: N(eta/√(1 + σ²), σ²/(1 + σ²) I)."""
    explainable = explainable_fraction(noise_variance)
    return eta * np.sqrt(explainable), (1.0 - explainable) * np.eye(eta.shape[1])


def draw_random_effects(
    mean: Float[np.ndarray, "subject random_effect"],
    covariance: Float[np.ndarray, "random_effect random_effect"],
    draws: int,
    *,
    seed: int,
    stream: str,
    start: int,
) -> Float64[np.ndarray, "subject draw random_effect"]:
    """Draws from N(mean, covariance) for the subjects `start …`; the covariance may be singular."""
    variance, axes = np.linalg.eigh(covariance.astype(np.float64))
    root = axes * np.sqrt(np.maximum(variance, 0.0))
    noise = rng.normal(seed, stream, start, start + len(mean), (draws, mean.shape[1]))
    return mean[:, None].astype(np.float64) + noise @ root.T


def score_forecast(
    observation: Float[np.ndarray, "subject time"], ensemble: Float[np.ndarray, "subject draw time"]
) -> Float64[np.ndarray, "subject 3"]:
    """Per subject: squared error of the mean, CRPS, and whether the observation is inside the 95 % interval.

    Each is the sum over the visits that are present, divided by the number of all visits of the schedule. The
    squared error is that of the predictive mean. The variance that the mean of finitely many draws adds is
    subtracted.
    """
    draws = ensemble.shape[1]
    added = ensemble.var(axis=1, ddof=1, dtype=np.float64) / draws
    squared_error = (observation - ensemble.mean(axis=1, dtype=np.float64)) ** 2 - added
    inside = within_ensemble_interval(observation, ensemble, _LEVEL)
    parts = (squared_error, crps(observation, ensemble), inside)
    return np.stack([_over_visits(part, np.isfinite(observation)) for part in parts], 1)


def _over_visits(
    values: Float[np.ndarray, "subject time"], present: Bool[np.ndarray, "subject time"]
) -> Float64[np.ndarray, " subject"]:
    """The sum over present visits, divided by the number of all visits."""
    return np.where(present, values, 0.0).mean(axis=1)


def outcome_table(levels: Sequence[Forecasts], resamples: Resamples) -> pd.DataFrame:
    """Scores of forecasts of outcomes, with 95 % bootstrap intervals over subjects.

    One row per noise level and forecaster, with the columns noise_variance, predictor and, each with its _low
    and _high: r2, the share of the outcomes' variance around the mean at each time that the predictive mean
    explains; crps, in the units of the outcome, lower is better; coverage of the 95 % predictive intervals.
    Raises ValueError if there is nothing to score or a score is not finite.
    """
    rows, columns = [], []
    for level in levels:
        present = np.isfinite(level.observation)
        shared = present.any(axis=0)
        average = np.zeros(len(shared))
        average[shared] = np.nanmean(level.observation[:, shared], axis=0, dtype=np.float64)
        total = _over_visits((level.observation - average) ** 2, present)
        for name, scores in level.scores.items():
            if not np.isfinite(scores).all():
                raise UserError(f"forecast of {name} at σ² = {level.noise_variance:g}: scores are not finite")
            rows.append((level.noise_variance, name))
            columns.append(np.column_stack([scores, total, present.mean(axis=1)]))
    if not rows:
        raise ValueError("evaluation needs at least one noise level and one forecast")
    stacked = np.concatenate(columns, axis=1)
    means = [stacked.mean(axis=0)[None], resamples.means(stacked)]
    point, replicates = (m.reshape(len(m), len(rows), 5) for m in means)
    table = pd.DataFrame(rows, columns=["noise_variance", "predictor"])
    for name, of in (
        ("r2", lambda m: 1.0 - m[..., 0] / m[..., 3]),
        ("crps", lambda m: m[..., 1] / m[..., 4]),
        ("coverage", lambda m: m[..., 2] / m[..., 4]),
    ):
        table[name] = of(point)[0]
        table[f"{name}_low"], table[f"{name}_high"] = percentile_interval(of(replicates))
    return table


@dataclass(frozen=True)
class Records:
    """Outcomes of the same test subjects at one noise level, simulated with residual error; (subject, time).

    Each is simulated from the random effects of one population: `true` from eta_hat (the observation itself),
    `predicted` from eta_pred (one array per predictor, by name), `approximate` from eta_approx, `average`
    from zeros, `random` from draws from N(0, I).
    """

    noise_variance: float
    true: Float[np.ndarray, "subject time"]
    predicted: Mapping[str, Float[np.ndarray, "subject time"]]
    approximate: Float[np.ndarray, "subject time"]
    average: Float[np.ndarray, "subject time"]
    random: Float[np.ndarray, "subject time"]


def longitudinal_nll_table(
    levels: Sequence[Records],
    prediction: Float[np.ndarray, "subject time"],
    resamples: Resamples,
    *,
    residual: nlme.ResidualError,
) -> pd.DataFrame:
    """Mean conditional negative log-likelihood with 95 % bootstrap intervals (the paper's Table 2).

    `prediction` is f(eta), the outcome under the random effects in the image, without noise. Every
    population's outcome is scored under it, with the true residual error, at the visits at which the subject
    was observed. Columns: noise_variance, predictor
    (missing where none is involved), population, nll, nll_low, nll_high, and gain, gain_low, gain_high: by
    how much nll is lower than that of the `average` population at this noise level, on the same resamples.

    Raises ValueError if there is nothing to score, if shapes differ, or if a value is not finite.
    """
    rows, scores = [], []
    for level in levels:
        for predictor, population, observation in _populations(level):
            present = np.isfinite(level.true)
            check_rows(f"{population} at σ² = {level.noise_variance:g}", observation, prediction, present)
            rows.append((level.noise_variance, predictor, population))
            seen = np.where(present, observation, np.nan)
            scores.append(conditional_nll(seen, prediction, residual)[:, None])
    stacked = side_by_side(scores)
    table = pd.DataFrame(rows, columns=["noise_variance", "predictor", "population"])
    point, replicates = stacked.mean(axis=0)[None], resamples.means(stacked)
    sizes = table.groupby("noise_variance", sort=False).size()
    average = np.flatnonzero(table["population"] == "average").repeat(sizes)
    for name, of in (("nll", lambda means: means), ("gain", lambda means: means[:, average] - means)):
        table[name] = of(point)[0]
        table[f"{name}_low"], table[f"{name}_high"] = percentile_interval(of(replicates))
    return table


def random_population(
    noise_variance: float, start: int, stop: int, n_random_effects: int, *, seed: int
) -> Float64[np.ndarray, "subject random_effect"]:
    """Random effects of the `random` population for the subjects `start … stop - 1`: draws from N(0, I).

    Noise levels have independent draws.
    """
    return rng.normal(seed, f"random_population/{noise_variance:g}", start, stop, (n_random_effects,))


def _populations(level: Records):
    yield None, "true", level.true
    for predictor, observation in level.predicted.items():
        yield predictor, "predicted", observation
    yield None, "approximate", level.approximate
    yield None, "average", level.average
    yield None, "random", level.random
