"""The choice of a grid for the solver with reverse derivatives."""

from functools import partial

import jax
import jax.numpy as jnp
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
_SHARE = 0.1  # of the error allowed: a segment in which more arises gets shorter steps
_HELP = 0.5  # of the error before: what is left after a step that helped
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

    Raises UserError if no grid is fine enough: the equations are stiff, or a network makes them so; or if the
    vector field is not a finite number where a record starts.
    """
    if not isinstance(model, OdeModel):
        return DEFAULT
    n, k = lanes.y.shape[1], parameters.omega.shape[0]
    if eta is None:
        z = rng.normal(0, "fine_grid", 0, n, (k,))
        eta = np.linalg.cholesky(np.asarray(parameters.omega)) @ z.T
    some = np.unique(np.linspace(0, n - 1, _SUBJECTS).round().astype(int))
    part, eta = lanes.select(some), eta[:, some]
    schedule = _schedule(model, parameters, part, eta)
    grid = start if isinstance(start, Grid) else _first(schedule)
    coarse = _predicted(model, parameters.concrete(), eta, part, grid)
    last = np.inf
    while grid.n_steps <= _MOST:
        finer = grid.finer()
        fine = _predicted(model, parameters.concrete(), eta, part, finer)
        off = np.asarray(jnp.where(part.present, fine[0] - coarse[0], 0.0) / jnp.sqrt(fine[1]))
        off = np.where(np.isfinite(off), off, np.where(part.present, np.inf, 0.0))
        if (worst := np.max(np.abs(off), initial=0.0)) < error:
            return grid
        if worst == np.inf and last == np.inf:
            _check_start(model, parameters, part, eta)
        # Shorter steps where much of the error arises; everywhere, if that was no help.
        where = _where_it_arises(schedule, off) > _SHARE * error
        grid = grid.finer(where) if where.any() and not worst > _HELP * last else finer
        coarse = fine if grid == finer else _predicted(model, parameters.concrete(), eta, part, grid)
        last = worst
    raise UserError(
        f"{type(model).__name__}: {_MOST:,} steps of equal length are too few for a record; the equations "
        "are stiff: use method focei or laplacei, or a network whose output is bounded"
    )


def _check_start(model: OdeModel, parameters: Parameters, lanes: ObservedLanes, eta) -> None:
    """Raise UserError if the vector field is no finite number at the start of a record, before any dose."""
    theta = parameters.concrete().theta
    covariates = jax.tree.map(lambda v: np.broadcast_to(v, eta.shape[1:]), lanes.covariates)

    def slope(eta, covariates):
        p = model.individual(theta, eta, covariates)
        state = tuple(jnp.asarray(value, dtype=float) for value in model.initial_state(p))
        return jnp.stack([jnp.asarray(value) for value in model.vector_field(jnp.zeros(()), state, p)])

    bad = ~np.isfinite(np.asarray(jax.vmap(slope, (-1, -1))(eta, covariates)))
    if bad.any():
        state = int(np.argmax(bad.any(axis=0)))
        raise UserError(
            f"{type(model).__name__}.vector_field must return finite numbers; that of state {state + 1} is "
            "none at the start of a record"
        )


def _schedule(model, parameters: Parameters, lanes: ObservedLanes, eta) -> Schedule:
    """The schedule at some random effects."""
    plan = lanes.plan
    if isinstance(plan, Plan):
        theta = parameters.concrete().theta
        covariates = jax.tree.map(lambda v: np.broadcast_to(v, eta.shape[1:]), lanes.covariates)
        p = jax.vmap(lambda e, c: model.individual(theta, e, c), (-1, -1))(eta, covariates)
        plan = plan.schedule(jax.vmap(model.dosing)(p), eta.shape[1])
    assert isinstance(plan, Schedule)
    return plan


def _first(schedule: Schedule) -> Grid:
    """About as many steps as segments, longer segments divided."""
    span = np.max(np.asarray(schedule.end_h)) - np.min(np.asarray(schedule.start_h))
    return Grid.of(schedule, span / _FIRST if span > 0 else 1.0)


def _where_it_arises(
    schedule: Schedule, off: Float64[np.ndarray, "time lane"]
) -> Float64[np.ndarray, " segment"]:
    """The error that arises in each segment: by how much it changes until the next observation, the most of
    all lanes."""
    n, lanes = len(schedule.end_h), np.arange(off.shape[1])
    record = np.asarray(schedule.record).reshape(n, -1)
    record = np.broadcast_to(record, (n, len(lanes)))
    arises, after = np.zeros(n), np.zeros((n, len(lanes)))
    upcoming = np.zeros(len(lanes))
    for k in range(n - 1, -1, -1):
        upcoming = np.where(record[k] >= 0, off[record[k], lanes], upcoming)
        after[k] = upcoming
    before = np.zeros(len(lanes))
    for k in range(n):
        with np.errstate(invalid="ignore"):
            arises[k] = np.max(np.nan_to_num(np.abs(after[k] - before), nan=np.inf))
        before = np.where(record[k] >= 0, off[record[k], lanes], before)
    return arises


@partial(jax.jit, static_argnames="grid")
def _predicted(model, parameters, eta, lanes, grid):
    """Predictions and residual variances."""
    f = predict(model, parameters.theta, eta, lanes, grid)[0]
    return f, parameters.residual.of(lanes.output).variance(jnp.where(lanes.present, f, 1.0))
