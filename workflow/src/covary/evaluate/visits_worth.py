"""What an image is worth in visits: forecasts given the first visits, with and without the image.

The random effects of a subject have the prior N(0, Ω) without the image and N(eta_pred, V) with it. The prior
times the likelihood of the first m visits is sampled, and each draw gives a forecast of the later visits. All
forecasts are of the same visits, those after the largest m, so that they can be compared. The population
parameters are the true ones, as in the table of outcomes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64

from covary import nlme, rng
from covary.errors import UserError
from covary.evaluate.effects import RandomEffects
from covary.evaluate.metrics import conditional_nll
from covary.evaluate.outcomes import NO_IMAGE, Forecasts, draw_random_effects, outcome_table, score_forecast
from covary.nlme.centred import around_means
from covary.records.study import Study
from covary.resampling import Resamples, percentile_interval, systematic

_STREAM = "visits_worth"  # the same draws for every number of visits, so that differences are paired
_OF_EFFECTS = f"{_STREAM}/random_effects"
_PROPOSALS = 1024  # from the prior, for each subject
_SUBJECTS_AT_ONCE = 256
_RIDGE = 1e-6  # of the mean variance: V of few validation subjects may be singular


@dataclass(frozen=True)
class VisitForecasts:
    """Scores of forecasts given the first visits, at one noise level.

    `later` has the observations that are forecast, NaN elsewhere. `scores[m]` are those of `score_forecast`
    by forecaster, given the first m visits: `no_image` has the visits alone, each predictor has the image and
    the visits.
    """

    noise_variance: float
    later: Float[np.ndarray, "subject time"]
    scores: Mapping[int, Mapping[str, Float64[np.ndarray, "subject 3"]]]


def default_first_visits(n_times: int) -> list[int]:
    """0, 1, 2, 3, 5, 8, … visits, at most half of the schedule."""
    numbers, following = [0, 1], 2
    while following <= n_times // 2:
        numbers.append(following)
        following = sum(numbers[-2:])
    return [m for m in numbers if m <= n_times // 2]


def first_subjects(level: RandomEffects, n: int) -> RandomEffects:
    """The same of the first n subjects."""
    return dataclasses.replace(
        level,
        eta_hat=level.eta_hat[:n],
        eta_approx=level.eta_approx[:n],
        eta_pred={name: mean[:n] for name, mean in level.eta_pred.items()},
    )


def first_and_later(
    observation: Float[np.ndarray, "subject time"], first_visits: Sequence[int]
) -> tuple[dict[int, Float[np.ndarray, "subject time"]], Float[np.ndarray, "subject time"]]:
    """The first m visits that took place, for each m, and the visits after the largest m; NaN elsewhere."""
    number = np.cumsum(np.isfinite(observation), axis=1)
    first = {m: np.where(number <= m, observation, np.nan) for m in first_visits}
    return first, np.where(number > max(first_visits), observation, np.nan)


def forecast_after_visits(
    study: Study,
    level: RandomEffects,
    observation: Float[np.ndarray, "subject time"],
    first_visits: Sequence[int],
    draws: int,
    *,
    seed: int,
    start: int,
) -> VisitForecasts:
    """Forecasts of the subjects `start …`, for each number of first visits and each forecaster.

    Subjects without later visits are left out, and so are subjects of which a mode was not found.
    Raises UserError if no subject is left.
    """
    first, later = first_and_later(observation, first_visits)
    n, k = level.eta_hat.shape
    priors = {NO_IMAGE: (np.zeros((n, k)), np.eye(k))}
    priors |= {name: (mean, level.covariance[name]) for name, mean in level.eta_pred.items()}
    scores: dict[int, dict[str, np.ndarray]] = {m: {} for m in first_visits}
    for name, (mean, covariance) in priors.items():
        parts: dict[int, list[np.ndarray]] = {m: [] for m in first_visits}
        for begin in range(0, n, _SUBJECTS_AT_ONCE):
            rows = slice(begin, begin + _SUBJECTS_AT_ONCE)
            prior = _Prior(study, mean[rows].astype(np.float64), covariance, seed, start + begin)
            for m, seen in first.items():
                outcomes = prior.outcomes(prior.draws(seen[rows], draws))
                parts[m].append(score_forecast(later[rows], outcomes))
        for m, scored in parts.items():
            scores[m][name] = np.concatenate(scored)
    kept = np.isfinite(later).any(axis=1)
    for of in scores.values():
        kept &= np.all([np.isfinite(values).all(axis=1) for values in of.values()], axis=0)
    if not kept.any():
        raise UserError(
            f"evaluation.visits_worth: at σ² = {level.noise_variance:g}, no subject has a visit after the "
            f"first {max(first_visits)}"
        )
    scores = {m: {name: values[kept] for name, values in of.items()} for m, of in scores.items()}
    return VisitForecasts(level.noise_variance, later[kept], scores)


@dataclass(frozen=True)
class _Prior:
    """N(mean, covariance) of the random effects of the subjects `start …`, and what follows from records."""

    study: Study
    mean: Float64[np.ndarray, "subject k"]
    covariance: Float[np.ndarray, "k k"]
    seed: int
    start: int

    def draws(
        self, observation: Float[np.ndarray, "subject time"], n_draws: int
    ) -> Float64[np.ndarray, "subject draw k"]:
        """Draws given the observations; NaN for a subject whose mode was not found.

        Fewer visits than random effects leave a posterior that lies along a surface: draws from the prior are
        resampled by their likelihood. More visits leave one around a point: draws are made around its mode.
        """
        n_visits = np.isfinite(observation).sum(axis=1).max()
        if n_visits == 0:
            return self._sample(n_draws)
        if n_visits < len(self.covariance):
            return self._resampled(observation, n_draws)
        return self._around_modes(observation, n_draws)

    def outcomes(
        self, eta: Float64[np.ndarray, "subject draw k"]
    ) -> Float64[np.ndarray, "subject draw time"]:
        """Records with residual error; NaN for subjects without draws."""
        n, draws, k = eta.shape
        flat = self.study.simulate(
            np.nan_to_num(eta).reshape(-1, k), self._subjects(draws), seed=self.seed, stream=_STREAM,
            start=self.start * draws,
        )  # fmt: skip
        known = np.isfinite(eta).all(axis=(1, 2))
        return np.where(known[:, None, None], flat.reshape(n, draws, -1), np.nan)

    def _subjects(self, draws: int) -> np.ndarray:
        return np.repeat(np.arange(self.start, self.start + len(self.mean)), draws)

    def _sample(self, n_draws: int) -> np.ndarray:
        return draw_random_effects(
            self.mean, self.covariance, n_draws, seed=self.seed, stream=_OF_EFFECTS, start=self.start
        )

    @cached_property
    def _proposals(self) -> tuple[np.ndarray, np.ndarray]:
        """Draws from the prior, and their predictions."""
        eta = self._sample(_PROPOSALS)
        return eta, self.study.predictions(eta.reshape(-1, eta.shape[2]), self._subjects(_PROPOSALS))

    def _resampled(self, observation, n_draws):
        eta, prediction = self._proposals
        seen, n = np.repeat(observation, _PROPOSALS, axis=0), len(self.mean)
        nll = conditional_nll(seen, prediction, self.study.truth.residual).reshape(n, _PROPOSALS)
        weight = np.nan_to_num(np.exp(np.nanmin(nll, axis=1, keepdims=True) - nll))
        offset = rng.uniform(self.seed, f"{_STREAM}/resample", self.start, self.start + n, (1,))
        return np.take_along_axis(eta, systematic(weight, offset, n_draws)[..., None], axis=1)

    def _around_modes(self, observation, n_draws):
        records = self.study.records(observation, slice(self.start, self.start + len(observation)))
        model, design = around_means(self.study.model, records.design, self.mean)
        records = dataclasses.replace(records, design=design)
        k = len(self.covariance)
        omega = self.covariance + _RIDGE * np.trace(self.covariance) / k * np.eye(k)
        parameters = dataclasses.replace(self.study.truth, omega=omega, blocks=(tuple(range(k)),))
        modes = nlme.empirical_bayes(model, parameters, records)
        drawn = nlme.posterior_draws(
            model, parameters, records, modes, n_draws, self.seed, stream=_OF_EFFECTS,
            first_subject=self.start,
        )  # fmt: skip
        return self.mean[:, None] + drawn.eta


def visits_worth_table(levels: Sequence[VisitForecasts], *, seed: int, resamples: int) -> pd.DataFrame:
    """Scores of the forecasts, and with how many visits alone one reaches each of them.

    One row per noise level, number of first visits and forecaster, with 95 % bootstrap intervals over
    subjects. Columns: noise_variance, visits, predictor, those of `outcome_table`, subjects, and alone,
    alone_low, alone_high, beyond. `alone` is the number of visits with which the forecast from visits alone
    has the same CRPS (`equivalent_visits`), interpolated between numbers of visits that are shown to help.
    `beyond` says that the CRPS is lower than that of the largest number of visits alone; `alone` is then
    that number, and the truth is more.
    """
    tables = []
    for level in levels:
        some = Resamples(len(level.later), seed=seed, resamples=resamples)
        forecasts = [Forecasts(level.noise_variance, level.later, of) for of in level.scores.values()]
        table = outcome_table(forecasts, some)
        table.insert(1, "visits", np.repeat(list(level.scores), len(table) // len(level.scores)))
        tables.append(table.assign(subjects=len(level.later), **_visits_alone(table, level, some)))
    return pd.concat(tables, ignore_index=True)


def _visits_alone(table: pd.DataFrame, level: VisitForecasts, resamples: Resamples) -> dict[str, np.ndarray]:
    """The columns alone, alone_low, alone_high and beyond."""
    present = np.isfinite(level.later).mean(axis=1)
    columns = np.column_stack([*(of[name][:, 1] for of in level.scores.values() for name in of), present])
    visits = np.array(list(level.scores), dtype=np.float64)
    without = (table["predictor"] == NO_IMAGE).to_numpy()

    replicates = resamples.means(columns)
    helpful = _helpful(replicates[:, :-1][:, without])

    def alone(means: np.ndarray) -> Float64[np.ndarray, "resample row"]:
        crps = means[:, :-1] / means[:, -1:]
        return np.stack([equivalent_visits(visits[helpful], one[without][helpful], one) for one in crps])

    low, high = percentile_interval(alone(replicates))
    crps = table["crps"].to_numpy()
    return {
        "alone": alone(columns.mean(axis=0)[None])[0],
        "alone_low": low,
        "alone_high": high,
        "beyond": crps < crps[without].min(),
    }


def _helpful(replicates: Float64[np.ndarray, "resample number"]) -> list[int]:
    """Which numbers of visits are shown to have a lower CRPS than those before.

    Visits that tell nothing, for instance one before the dose, would make any gain look like so many visits.
    """
    kept = [0]
    for i in range(1, replicates.shape[1]):
        low, _ = percentile_interval(replicates[:, kept[-1]] - replicates[:, i])
        if low > 0:
            kept.append(i)
    return kept


def equivalent_visits(
    visits: Float64[np.ndarray, " number"],
    alone: Float64[np.ndarray, " number"],
    score: Float64[np.ndarray, " row"],
) -> Float64[np.ndarray, " row"]:
    """The smallest number of visits whose score, where lower is better, is at most `score`.

    `alone[i]` is the score given `visits[i]` visits, in increasing order. A number of visits whose score is
    not lower than that of fewer visits is left out. Between the others the score is interpolated linearly. A
    score outside gives the first or the last of them.
    """
    best = np.minimum.accumulate(alone)
    kept = np.concatenate([[True], np.diff(best) < 0])
    return np.interp(-score, -best[kept], visits[kept])
