"""A solver with reverse derivatives: all lanes take the same steps, chosen before the solve.

The gradient of a batch in thousands of network weights costs a few solves. The steps of a segment divide it
into equal parts, so no lane waits for a slower one, and a program of fixed length has a reverse derivative
by itself. Each step is computed again on the way back: only the states between steps are kept.

A step is the fifth-order method of Dormand and Prince (1980), J. Comput. Appl. Math. 6, 19-26. `fine_grid`
chooses the number of steps by comparison with the adaptive solver of `lanes`.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Bool, Float, Int

from covary.errors import UserError
from covary.nlme.arrays import Array
from covary.nlme.model import OdeModel
from covary.nlme.schedule import Schedule
from covary.nlme.solvers.lanes import Failure, Solution

_ABSCISSAE = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0)
_A: tuple[tuple[float, ...], ...] = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
)
_B = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)


class Grid(eqx.Module):
    """How many equal steps divide each segment of a schedule, for all lanes alike; 0 if nothing happens."""

    steps: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def of(cls, schedule: Schedule, step_h: float) -> "Grid":
        """Steps that are nowhere longer than `step_h`. The schedule holds numbers, not tracers."""
        begin, end = begin_and_end(schedule)
        n = len(end)
        longest = np.asarray(end - begin).reshape(n, -1).max(axis=1)
        acts = np.asarray(schedule.amount).reshape(n, -1).any(axis=1)
        if schedule.rate is not None:
            acts |= np.asarray(schedule.rate).reshape(n, -1).any(axis=1)
        if schedule.restart_h is not None:
            acts |= ~np.isnan(schedule.restart_h).reshape(n, -1).all(axis=1)
        least = np.where((longest == 0) & ~acts & (np.arange(n) > 0), 0, 1)
        return cls(tuple(int(m) for m in np.maximum(np.ceil(longest / step_h - 1e-9), least)))

    def finer(self, where: Bool[np.ndarray, " segment"] | bool = True) -> "Grid":
        """The same with steps half as long in some segments."""
        doubled = np.where(where, 2, 1) * self.steps
        return Grid(tuple(int(n) for n in doubled))

    @property
    def n_steps(self) -> int:
        """Steps of one solve."""
        return sum(self.steps)


def begin_and_end(schedule: Schedule) -> tuple[Float[Array, "segment *lane"], Float[Array, "segment *lane"]]:
    """When each segment begins and ends."""
    end = jnp.asarray(schedule.end_h)
    start = jnp.broadcast_to(jnp.asarray(schedule.start_h), end.shape[1:])
    begin = jnp.concatenate([start[None], end[:-1]])
    if schedule.restart_h is not None:
        begin = jnp.where(jnp.isnan(schedule.restart_h), begin, schedule.restart_h)
    return begin, end


def solve(
    model: OdeModel,
    p: dict,
    schedule: Schedule,
    n_times: int,
    output: Int[Array, "time *lane"] | None,
    grid: Grid,
) -> Solution:
    """Integrate every lane through its schedule on a grid; differentiable in both modes, to any order.

    `p` holds the individual parameters, each (lane,), or (epoch, lane) if covariates change; `output` says
    which of several outputs is observed. Where a lane fails, all its predictions are NaN. Raises UserError
    if the schedule adds a steady state to what is there (SS 2), ValueError if the grid is that of another
    schedule.
    """
    if schedule.push is not None:
        raise UserError(
            "a dose at steady state that adds to what is there (SS 2) needs the adaptive solver: "
            "use method focei or laplacei"
        )
    n_segments = schedule.end_h.shape[0]
    if len(grid.steps) != n_segments:
        raise ValueError(f"the grid must have {n_segments} segments, got {len(grid.steps)}")
    lanes = jax.tree.leaves(p)[0].shape[-1]

    def wide(table):
        """(segment, lane)."""
        table = jnp.asarray(table)
        return jnp.broadcast_to(table if table.ndim > 1 else table[:, None], (n_segments, lanes))

    def during(epoch):
        """The individual parameters in an epoch of each lane."""
        if epoch is None:
            return jax.tree.map(lambda v: v[0], p) if schedule.epoch is not None else p
        return jax.tree.map(lambda v: jnp.take_along_axis(v, epoch[None], axis=0)[0], p)

    initial_state = jax.vmap(lambda p: _stacked(model.initial_state(p)), out_axes=-1)
    vector_field = jax.vmap(lambda t, y, p: _stacked(model.vector_field(t, tuple(y), p)), (0, -1, 0), -1)
    begin, end = begin_and_end(schedule)
    begin, end = wide(begin), wide(end)
    initial = initial_state(during(None))
    state_index = jnp.arange(len(initial))[:, None]
    tables = {
        "begin": begin,
        "h": (end - begin) / jnp.maximum(jnp.asarray(grid.steps, dtype=float), 1.0)[:, None],
        "amount": wide(schedule.amount),
        "compartment": wide(schedule.compartment),
    }
    for name in ("rate", "restart_h", "epoch", "start_epoch"):
        if getattr(schedule, name) is not None:
            tables[name] = wide(getattr(schedule, name))

    def act(now, y, rate):
        """Reset, bolus and change of infusion rate at the start of a segment."""
        if "restart_h" in now:
            resets = ~jnp.isnan(now["restart_h"])
            y = jnp.where(resets, initial_state(during(now.get("start_epoch"))), y)
            rate = jnp.where(resets, 0.0, rate)
        here = state_index == now["compartment"]
        y = y + jnp.where(here, now["amount"], 0.0)
        if "rate" in now:
            rate = rate + jnp.where(here, now["rate"], 0.0)
        return y, rate

    def advance(carry, step):
        y, rate = carry
        segment, number = step
        now = {name: table[segment] for name, table in tables.items()}
        acted = act(now, y, rate)
        y, rate = (jnp.where(number == 0, a, b) for a, b in zip(acted, carry, strict=True))
        own = during(now.get("epoch"))
        t = now["begin"] + number * now["h"]
        y = _step(lambda t, y: vector_field(t, y, own) + rate, t, y, now["h"])
        return (y, rate), y

    segment = np.repeat(np.arange(n_segments), grid.steps)
    number = np.concatenate([np.arange(n) for n in grid.steps])
    steps = (jnp.asarray(segment), jnp.asarray(number, dtype=float))
    _, states = lax.scan(jax.checkpoint(advance), (initial, jnp.zeros_like(initial)), steps)
    reached = states[np.cumsum(grid.steps) - 1]  # (segment, state, lane)

    def predicted(t, y, epoch):
        return jax.vmap(lambda t, y, p: model.prediction(t, tuple(y), p), (0, -1, 0))(t, y, during(epoch))

    record = wide(schedule.record)
    epoch = None if schedule.record_epoch is None else wide(schedule.record_epoch)
    f = jax.vmap(predicted, (0, 0, None if epoch is None else 0))(end, reached, epoch)
    place = jnp.where(record < 0, n_times, record)
    at = jnp.arange(lanes)[None]
    f = jax.tree.map(lambda v: jnp.zeros((n_times, lanes)).at[place, at].set(v, mode="drop"), f)
    prediction = model.choose(f, output)
    finite = jnp.all(jnp.isfinite(lax.stop_gradient(prediction)), axis=0)
    failure = jnp.where(finite, int(Failure.NONE), int(Failure.NOT_FINITE))
    return Solution(
        jnp.where(finite, prediction, jnp.nan), failure, jnp.full(lanes, grid.n_steps, dtype=jnp.int64)
    )


def _step(field, t: Float[Array, " lane"], y: Float[Array, "state lane"], h: Float[Array, " lane"]):
    """One step of the fifth-order Runge-Kutta method of Dormand and Prince."""
    k: list[Float[Array, "state lane"]] = []
    for abscissa, row in zip(_ABSCISSAE, _A, strict=True):
        stage = y + h * _combined(row, k) if k else y
        k.append(field(t + abscissa * h, stage))
    return y + h * _combined(_B, k)


def _combined(weights: Sequence[float], rows: Sequence[Array]) -> Array:
    return sum(weight * row for weight, row in zip(weights, rows, strict=True) if weight)


def _stacked(values) -> Float[Array, " state"]:
    return jnp.stack([jnp.asarray(value, dtype=float) for value in values])
