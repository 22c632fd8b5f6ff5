"""The choice of a grid for the solver with reverse derivatives."""

from functools import partial

import jax
import numpy as np
from jaxtyping import Float64

from covary import rng
from covary.errors import UserError
from covary.nlme.dosing import Plan
from covary.nlme.lanes import Accuracy, ObservedLanes, predict
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters
from covary.nlme.schedule import Schedule
from covary.nlme.solvers.adjoint import Grid
from covary.nlme.solvers.lanes import DEFAULT

_SUBJECTS = 32  # at which a grid is tried
_FIRST, _MOST = 24, 10_000  # steps of a record: where the search starts, and where it gives up


def fine_grid(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    lanes: ObservedLanes,
    eta: Float64[np.ndarray, "k subject"] | None = None,
    *,
    error: float = 3e-2,
    start: Accuracy | None = None,
) -> Accuracy:
    """The coarsest grid on which halving the steps changes no prediction by more than `error` residual
    standard deviations, at the random effects `eta` (default: drawn from N(0, Ω)).

    The search begins at `start`, or with about as many steps as segments. Some subjects, evenly spread,
    stand for all. A closed form needs no grid and gets a tolerance, which it does not look at.

    Raises UserError if no grid is fine enough: the equations are stiff, or a network makes them so.
    """
    if not isinstance(model, OdeModel):
        return DEFAULT
    n, k = lanes.y.shape[1], parameters.omega.shape[0]
    if eta is None:
        z = rng.normal(0, "fine_grid", 0, n, (k,))
        eta = np.linalg.cholesky(np.asarray(parameters.omega)) @ z.T
    some = np.unique(np.linspace(0, n - 1, _SUBJECTS).round().astype(int))
    part, eta = lanes.select(some), eta[:, some]
    grid = start if isinstance(start, Grid) else _first(model, parameters, part, eta)
    coarse = _in_sds(model, parameters, eta, part, grid)
    while grid.n_steps <= _MOST:
        finer = grid.twice()
        fine = _in_sds(model, parameters, eta, part, finer)
        if np.max(np.abs(fine[0] - coarse[0]) / fine[1], initial=0.0) < error:
            return grid
        grid, coarse = finer, fine
    raise UserError(
        f"{type(model).__name__}: {_MOST:,} steps of equal length are too few for a record; the equations "
        "are stiff: use method focei or laplacei, or a network whose output is bounded"
    )


def _first(model, parameters: Parameters, lanes: ObservedLanes, eta: Float64[np.ndarray, "k lane"]) -> Grid:
    """About as many steps as segments, longer segments divided."""
    schedule = lanes.plan
    if isinstance(schedule, Plan):
        theta = parameters.concrete().theta
        covariates = jax.tree.map(lambda v: np.broadcast_to(v, eta.shape[1:]), lanes.covariates)
        p = jax.vmap(lambda e, c: model.individual(theta, e, c), (-1, -1))(eta, covariates)
        schedule = schedule.schedule(jax.vmap(model.dosing)(p), eta.shape[1])
    assert isinstance(schedule, Schedule)
    span = np.max(np.asarray(schedule.end_h)) - np.min(np.asarray(schedule.start_h))
    return Grid.of(schedule, span / _FIRST if span > 0 else 1.0)


@partial(jax.jit, static_argnames="grid")
def _predicted(model, parameters, eta, lanes, grid):
    f = predict(model, parameters.theta, eta, lanes, grid)[0]
    return f, parameters.residual.of(lanes.output).variance(f)


def _in_sds(model, parameters, eta, lanes, grid) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and residual standard deviations of the observations that exist; NaN counts as far off."""
    f, variance = map(np.asarray, _predicted(model, parameters.concrete(), eta, lanes, grid))
    there = np.asarray(lanes.present)
    return np.nan_to_num(f[there], nan=np.inf), np.sqrt(np.nan_to_num(variance[there], nan=1.0))
