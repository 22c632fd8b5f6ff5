"""Uncertainty of a fit without the normal approximation: likelihood profiles and the bootstrap."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import chdtri

from covary import rng
from covary.errors import UserError
from covary.nlme.design import Records
from covary.nlme.fit import PopulationFit, fit_population

_WIDEST = 8  # doublings of the first step in search of the end of an interval
_TOLERANCE = 1e-3  # of the end of an interval, as a share of the first step


class Profile(NamedTuple):
    """A likelihood profile: the interval in which the OFV rises by less than the quantile of χ², and every
    point that was fitted (`value`, `delta_ofv`, `converged`). An end is NaN if it was not found."""

    parameter: str
    estimate: float
    low: float
    high: float
    points: pd.DataFrame


def likelihood_profile(
    fit: PopulationFit,
    records: Records,
    parameter: str,
    *,
    level: float = 0.95,
    report: Callable[[float, float], None] | None = None,
) -> Profile:
    """The profile of one parameter of a fit, all others fitted again at each of its values.

    `parameter` is a name of `fit.parameters.natural()` that has a place of its own on the unconstrained
    scale: a fixed effect, a residual standard deviation, or a variance without correlations.
    `report(value, delta_ofv)` is called after each fit. Bounds and priors of the other parameters are those
    of the fit.

    Raises UserError if there is no such parameter, it was fixed, or it has a bound or a prior of its own.
    """
    start = fit.parameters
    at = _place(fit, parameter)
    vector = start.to_vector()
    estimate = float(start.natural()[parameter])
    rise = float(chdtri(1, 1 - level))
    points: dict[float, tuple[float, float, bool]] = {}
    near = {0.0: start}

    def excess(step: float) -> float:
        """How much the OFV rises above the threshold at a distance from the estimate."""
        if step == 0.0:
            return -rise
        if step not in points:
            closest = near[min(near, key=lambda known: abs(known - step))]
            moved = closest.to_vector()
            moved[at] = vector[at] + step
            initial = start.from_vector(moved).concrete()
            found = fit_population(
                fit.model,
                records,
                initial,
                method=fit.method,
                fixed=(*fit.fixed, parameter),
                bounds=fit.bounds,
                priors=fit.priors,
                covariance=False,
            )
            near[step] = found.parameters
            value = float(found.parameters.natural()[parameter])
            points[step] = value, found.objective - fit.objective, found.converged
            if report is not None:
                report(value, points[step][1])
        return points[step][1] - rise

    first = _first_step(fit, at)
    ends = [_end(excess, sign * first) for sign in (-1, 1)]
    low, high = (_natural(fit, at, parameter, vector[at] + end) for end in ends)
    table = pd.DataFrame([points[s] for s in sorted(points)], columns=["value", "delta_ofv", "converged"])
    return Profile(parameter, estimate, low, high, table)


def bootstrap(
    fit: PopulationFit,
    records: Records,
    seed: int,
    *,
    replicates: int = 200,
    report: Callable[[int, PopulationFit], None] | None = None,
) -> pd.DataFrame:
    """Estimates from records whose subjects are drawn with replacement, one row per replicate.

    Bounds and priors are those of the fit.
    Columns are the parameters, `ofv` and `converged`. The draw of a replicate is keyed by (seed, its number).
    `report(replicate, fit)` is called after each. Quantiles of the columns are intervals.

    Raises ValueError if there are no replicates.
    """
    if replicates < 1:
        raise ValueError(f"replicates must be ≥ 1, got {replicates}")
    n = records.design.n_subjects
    rows = []
    for replicate in range(replicates):
        chosen = rng.generator(seed, "bootstrap", replicate).integers(0, n, n)
        found = fit_population(
            fit.model,
            records[chosen],
            fit.parameters,
            method=fit.method,
            fixed=fit.fixed,
            bounds=fit.bounds,
            priors=fit.priors,
            covariance=False,
        )
        estimates = {name: float(value) for name, value in found.parameters.natural().items()}
        rows.append(estimates | {"ofv": found.objective, "converged": found.converged})
        if report is not None:
            report(replicate, found)
    return pd.DataFrame(rows)


def _place(fit: PopulationFit, parameter: str) -> int:
    """The entry of the unconstrained vector that is this parameter alone."""
    names = list(fit.parameters.natural())
    effects = fit.parameters.random_effects
    blocks = [block for block in fit.parameters.blocks if len(block) > 1]
    correlated = {f"omega({effects[i]},{effects[j]})" for block in blocks for i in block for j in block}
    constrained = fit.bounds.keys() | fit.priors.keys()
    usable = [n for n in names if n not in correlated and n not in fit.fixed and n not in constrained]
    if parameter not in usable:
        raise UserError(f"a profile can be of {', '.join(usable)}, got {parameter}")
    return names.index(parameter)


def _first_step(fit: PopulationFit, at: int) -> float:
    """A distance on the unconstrained scale of about two standard errors, or 0.1 of a logarithm."""
    if fit.hessian is not None:
        error = float(np.sqrt(fit.covariance()[at, at]))
        if np.isfinite(error) and error > 0:
            return 2 * error
    return 0.1 * float(fit.units[at])


def _end(excess: Callable[[float], float], step: float) -> float:
    """The distance at which the excess is 0, in the direction of `step`; NaN if it is not reached."""
    inner, outer = 0.0, step
    for _ in range(_WIDEST):
        if excess(outer) > 0:
            return float(brentq(excess, inner, outer, xtol=_TOLERANCE * abs(step)))
        inner, outer = outer, 2 * outer
    return float("nan")


def _natural(fit: PopulationFit, at: int, parameter: str, value: float) -> float:
    """A value of the unconstrained scale on the natural one."""
    vector = fit.parameters.to_vector()
    vector[at] = value
    return float(fit.parameters.from_vector(vector).natural()[parameter])
