"""A batched, L-stable solver: many small initial value problems side by side, each with its own steps.

`vmap` of an adaptive loop hands every lane the same loop and copies its whole state each round. Here the
lanes are the last axis of every array, the linear algebra of a step is unrolled over the few states, and one
loop runs until the slowest of a block of lanes is done. Lanes never see each other, so a lane's result does
not depend on what is solved beside it. Everything is differentiable in forward mode, to any order: step sizes
count as constants, so derivatives are those of the discrete solution.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float, Int

from covary.nlme.arrays import Array
from covary.nlme.model import OdeModel
from covary.nlme.schedule import Schedule
from covary.nlme.solvers import rodas5p

_SAFETY, _SHRINK, _GROW = 0.9, 0.1, 8.0
_FIRST_STEP = 0.05  # of the fastest time scale
_MAX_STEPS = 5_000

Rows = tuple[Float[Array, " lane"], ...]


class Tolerance(NamedTuple):
    """Local error per step that is accepted: absolute + relative · |y|."""

    relative: float
    absolute: float


DEFAULT = Tolerance(1e-7, 1e-8)


class Solution(NamedTuple):
    """Predictions at the observation times, whether each lane got to its end, and the steps it took."""

    prediction: Float[Array, "time lane"]
    ok: Bool[Array, " lane"]
    steps: Int[Array, " lane"]


class _State(NamedTuple):
    segment: Int[Array, " lane"]
    t: Float[Array, " lane"]
    y: Rows
    h: Float[Array, " lane"]
    rate: Rows | None
    prediction: Float[Array, "time lane"]
    failed: Bool[Array, " lane"]
    steps: Int[Array, " lane"]


def solve(
    model: OdeModel, p: dict, schedule: Schedule, n_times: int, tolerance: Tolerance = DEFAULT
) -> Solution:
    """Integrate every lane through its schedule.

    `p` holds the individual parameters, each (lane,). Where a lane fails (a step size that vanishes, a state
    that is not finite, too many steps) the rest of its predictions is NaN and `ok` is False.
    """
    lanes = jax.tree.leaves(p)[0].shape
    initial = jax.vmap(lambda p: _scalars(model.initial_state(p)))(p)
    n_states = len(initial)
    n_segments = schedule.end_h.shape[0]
    vector_field = jax.vmap(lambda t, y, p: _scalars(model.vector_field(t, y, p)))
    predict = jax.vmap(model.prediction)

    def field(t, y):
        return vector_field(t, y, p)

    observation_index = jnp.arange(n_times)[:, None]

    def at(table, segment):
        segment = jnp.minimum(segment, n_segments - 1)
        return table[segment] if table.ndim == 1 else jnp.take_along_axis(table, segment[None], axis=0)[0]

    def act(segment, y, rate):
        """Bolus and change of infusion rate at the start of a segment."""
        real = segment < n_segments
        compartment = at(jnp.asarray(schedule.compartment), segment)
        amount = jnp.where(real, at(jnp.asarray(schedule.amount), segment), 0.0)
        y = tuple(v + jnp.where(compartment == i, amount, 0.0) for i, v in enumerate(y))
        if rate is not None:
            change = jnp.where(real, at(jnp.asarray(schedule.rate), segment), 0.0)
            rate = tuple(r + jnp.where(compartment == i, change, 0.0) for i, r in enumerate(rate))
        return y, rate

    def unfinished(state):
        return jnp.any((state.segment < n_segments) & ~state.failed)

    def advance(state):
        active = (state.segment < n_segments) & ~state.failed
        end = at(jnp.asarray(schedule.end_h), state.segment)
        left = end - state.t
        instant = left <= 0
        reaches = state.h >= 0.999 * left
        h = jnp.where(instant | ~active, 1.0, jnp.where(reaches, left, state.h))
        y, error = step(_with_rate(field, state.rate), state.t, state.y, h)
        e = lax.stop_gradient(_error_norm(error, state.y, y, tolerance))
        e = jnp.where(jnp.isfinite(e), e, jnp.inf)
        accepted = (e <= 1) & active & ~instant
        arrives = active & (instant | (accepted & reaches))
        factor = jnp.clip(_SAFETY * jnp.maximum(e, 1e-12) ** -0.2, _SHRINK, _GROW)
        # A step cut short by an observation says little about the step that would have been possible.
        proposal = jnp.where(accepted & reaches, jnp.maximum(state.h, h * factor), h * factor)
        y = tuple(jnp.where(accepted, new, old) for new, old in zip(y, state.y, strict=True))
        t = jnp.where(arrives, end, jnp.where(accepted, state.t + h, state.t))
        hits = (observation_index == at(jnp.asarray(schedule.record), state.segment)) & arrives
        prediction = jnp.where(hits, predict(t, y, p), state.prediction)
        segment = state.segment + arrives
        acted_y, acted_rate = act(segment, y, state.rate)
        y = tuple(jnp.where(arrives, a, b) for a, b in zip(acted_y, y, strict=True))
        rate = None
        if state.rate is not None:
            rate = tuple(jnp.where(arrives, a, b) for a, b in zip(acted_rate, state.rate, strict=True))
        steps = state.steps + (active & ~instant)
        vanished = active & ~instant & ~accepted & (proposal < 1e-14 * (1 + jnp.abs(t)))
        return _State(
            segment,
            t,
            y,
            jnp.where(instant | ~active, state.h, proposal),
            rate,
            prediction,
            state.failed | vanished | (steps >= _MAX_STEPS),
            steps,
        )

    zeros = jnp.zeros(lanes)
    rate = None if schedule.rate is None else (zeros,) * n_states
    segment = jnp.zeros(lanes, dtype=jnp.int64)
    y, rate = act(segment, initial, rate)
    t = jnp.broadcast_to(jnp.asarray(schedule.start_h), lanes)
    h = lax.stop_gradient(_FIRST_STEP / jnp.maximum(_fastest_rate(_with_rate(field, rate), t, y), 1e-6))
    state = lax.while_loop(
        unfinished,
        jax.jit(advance),  # traced once, however often it is differentiated
        _State(segment, t, y, h, rate, jnp.zeros((n_times, *lanes)), jnp.zeros(lanes, dtype=bool), segment),
    )
    ok = ~state.failed & jnp.all(jnp.isfinite(lax.stop_gradient(state.prediction)), axis=0)
    return Solution(jnp.where(ok, state.prediction, jnp.nan), ok, state.steps)


def step(
    field: Callable[[Array, Rows], Rows], t: Float[Array, " lane"], y: Rows, h: Float[Array, " lane"]
) -> tuple[Rows, Rows]:
    """One Rodas5P step of size h: the new state and the estimate of its local error."""
    n = len(y)
    f0, df_dt = jax.jvp(lambda t: field(t, y), (t,), (jnp.ones_like(t),))
    basis = [
        tuple(jnp.ones_like(v) if i == j else jnp.zeros_like(v) for i, v in enumerate(y)) for j in range(n)
    ]
    columns = [jax.jvp(lambda *y: field(t, y), y, e)[1] for e in basis]
    inverse_h = 1 / h
    solve_w = _lu(
        [[inverse_h / rodas5p.GAMMA * (r == c) - columns[c][r] for c in range(n)] for r in range(n)]
    )
    k: list[Rows] = []
    stage = y
    for i in range(8):
        if i > 0:
            stage = tuple(y[r] + sum(a * k[j][r] for j, a in enumerate(rodas5p.A[i])) for r in range(n))
        f = f0 if i == 0 else field(t + rodas5p.ABSCISSAE[i] * h, stage)
        k.append(
            solve_w(
                [
                    f[r]
                    + inverse_h * sum(c * k[j][r] for j, c in enumerate(rodas5p.C[i]))
                    + (rodas5p.D[i] * h * df_dt[r] if rodas5p.D[i] else 0.0)
                    for r in range(n)
                ]
            )
        )
    return tuple(stage[r] + k[7][r] for r in range(n)), k[7]


def _lu(w: list[list[Array]]) -> Callable[[list[Array]], Rows]:
    """Factorise W lane by lane without pivoting: W tends to a multiple of I as the step shrinks, so a poor
    pivot ends in a rejected step."""
    n = len(w)
    inverse_pivots = []
    for c in range(n):
        inverse_pivots.append(1 / w[c][c])
        for r in range(c + 1, n):
            w[r][c] = w[r][c] * inverse_pivots[c]
            for q in range(c + 1, n):
                w[r][q] = w[r][q] - w[r][c] * w[c][q]

    def solve_w(b):
        x = list(b)
        for r in range(n):
            for c in range(r):
                x[r] = x[r] - w[r][c] * x[c]
        for r in reversed(range(n)):
            for c in range(r + 1, n):
                x[r] = x[r] - w[r][c] * x[c]
            x[r] = x[r] * inverse_pivots[r]
        return tuple(x)

    return solve_w


def _scalars(values) -> tuple[Float[Array, ""], ...]:
    return tuple(jnp.asarray(value, dtype=float) for value in values)


def _with_rate(field, rate):
    if rate is None:
        return field
    return lambda t, y: tuple(f + r for f, r in zip(field(t, y), rate, strict=True))


def _error_norm(error: Rows, old: Rows, new: Rows, tolerance: Tolerance) -> Float[Array, " lane"]:
    def scale(a, b):
        return tolerance.absolute + tolerance.relative * jnp.maximum(jnp.abs(a), jnp.abs(b))

    parts = [jnp.square(e / scale(a, b)) for e, a, b in zip(error, old, new, strict=True)]
    return jnp.sqrt(sum(parts) / len(parts))


def _fastest_rate(field, t, y) -> Float[Array, " lane"]:
    """The largest entry of the Jacobian."""
    n = len(y)
    basis = [
        tuple(jnp.ones_like(v) if i == j else jnp.zeros_like(v) for i, v in enumerate(y)) for j in range(n)
    ]
    entries = [jnp.abs(entry) for e in basis for entry in jax.jvp(lambda *y: field(t, y), y, e)[1]]
    return jnp.max(jnp.stack(entries), axis=0)
