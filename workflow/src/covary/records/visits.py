"""Which visits of the schedule take place.

Each mechanism of the configuration takes visits away. A visit takes place if no mechanism takes it away. The
draws of subject i are keyed by (seed, the mechanism's place in the list, i). They are the same at every noise
level, so that levels differ in what is observed and not in when.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64
from scipy.optimize import brentq
from scipy.special import expit

from covary import rng
from covary.config.visits import CompletelyAtRandom, Dropout, Missing, NotAtRandom
from covary.errors import UserError

OUTCOME = "outcome"


def check_mechanisms(
    missing: Sequence[Missing], scheduled: Bool[np.ndarray, "row time"], random_effects: Sequence[str]
) -> None:
    """Raise UserError, in one line, if a mechanism does not fit the visits or the random effects.

    `scheduled` says which visits each schedule has. A mechanism must fit the shortest schedule.
    """
    n_times = scheduled.sum(axis=1).min()
    for i, mechanism in enumerate(missing):
        key = f"longitudinal.missing[{i}]"
        match mechanism:
            case NotAtRandom(quantity=quantity) if quantity not in (OUTCOME, *random_effects):
                known = ", ".join((OUTCOME, *random_effects))
                raise UserError(f"{key}.quantity: must be one of {known}, got {quantity!r}")
            case CompletelyAtRandom(at_most=int(at_most)) if at_most >= n_times:
                raise UserError(f"{key}.at_most: must be < the number of visits, {n_times}, got {at_most}")
            case Dropout(fraction=fraction) if fraction >= (n_times - 1) / n_times:
                raise UserError(
                    f"{key}.fraction: must be < {n_times - 1}/{n_times}, because the first visit always "
                    f"takes place, got {fraction:g}"
                )


def visits_that_take_place(
    missing: Sequence[Missing],
    times_h: Float64[np.ndarray, "#subject time"],
    scheduled: Bool[np.ndarray, "#subject time"],
    observation: Float[np.ndarray, "subject time"],
    eta_hat: Float[np.ndarray, "subject random_effect"],
    random_effects: Sequence[str],
    *,
    seed: int,
    start: int,
) -> Bool[np.ndarray, "subject time"]:
    """Which visits of the subjects `start …` take place.

    `observation` is what would be observed at each visit. `times_h` and `scheduled`, which says what visits a
    subject's own schedule has, have one row for all subjects, or one per subject. Only visits on a subject's
    own schedule count as missing.
    """
    n, n_times = observation.shape
    stop = start + n
    present = np.ones((n, n_times), dtype=bool)
    for i, mechanism in enumerate(missing):
        stream = f"missing_visits/{i}"
        match mechanism:
            case CompletelyAtRandom(fraction=float(fraction)):
                present &= rng.uniform(seed, stream, start, stop, (n_times,)) >= fraction
            case CompletelyAtRandom(at_most=int(at_most)):
                u = rng.uniform(seed, stream, start, stop, (1 + n_times,))
                count = np.floor(u[:, :1] * (at_most + 1))
                order = np.where(
                    scheduled, u[:, 1:], 2.0
                )  # visits of others come last, so none of them counts
                present &= np.argsort(np.argsort(order, axis=1), axis=1) >= count
            case Dropout(fraction=fraction):
                own_h = np.where(scheduled, times_h, np.nan)
                elapsed_h = own_h - np.nanmin(own_h, axis=1, keepdims=True)
                u = rng.uniform(seed, stream, start, stop, (1,))
                with np.errstate(invalid="ignore"):  # NaN: not on the subject's schedule
                    present &= u < np.exp(-_hazard_per_h(elapsed_h, fraction) * elapsed_h)
            case NotAtRandom(quantity=quantity, slope=slope):
                value = observation
                if quantity != OUTCOME:
                    value = eta_hat[:, [list(random_effects).index(quantity)]]
                probability = expit(mechanism.intercept + slope * value)
                present &= rng.uniform(seed, stream, start, stop, (n_times,)) >= probability
    return present


def check_observed(observation: Float[np.ndarray, "subject time"], split: str, scenario: str) -> None:
    """Raise UserError if every visit of a split is missing."""
    if not np.isfinite(observation).any():
        raise UserError(f"longitudinal.missing: {scenario}: every visit of the {split} subjects is missing")


def _hazard_per_h(
    elapsed_h: Float64[np.ndarray, "row time"], fraction: float
) -> Float64[np.ndarray, "row 1"]:
    """The hazard at which the expected share of visits after the end is `fraction`, for each schedule.

    A time that is not on a schedule is NaN.
    """
    if fraction == 0:
        return np.zeros((len(elapsed_h), 1))
    hazards = []
    schedules, which = np.unique(np.nan_to_num(elapsed_h, nan=-1.0), axis=0, return_inverse=True)
    for schedule in schedules:
        elapsed = schedule[schedule >= 0]
        scale = elapsed[elapsed > 0].min()

        def excess(log_hazard, elapsed=elapsed, scale=scale):
            return -np.expm1(-np.exp(log_hazard) * elapsed / scale).mean() - fraction

        hazards.append(np.exp(brentq(excess, -60.0, 60.0)) / scale)
    return np.array(hazards)[which.reshape(-1), None]
