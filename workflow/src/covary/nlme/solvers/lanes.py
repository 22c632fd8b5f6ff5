"""A batched, L-stable solver: many small initial value problems side by side, each with its own steps.

`vmap` of an adaptive loop hands every lane the same loop and copies its whole state each round. Here the
lanes are the last axis of every array, the linear algebra of a step is unrolled over the few states, and one
loop runs until the slowest of a block of lanes is done. Lanes never see each other, so a lane's result does
not depend on what is solved beside it. Everything is differentiable in forward mode, to any order: step sizes
count as constants, so derivatives are those of the discrete solution.
"""

from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Int

from covary.nlme.arrays import Array
from covary.nlme.model import OdeModel
from covary.nlme.schedule import Schedule
from covary.nlme.solvers import rodas5p

_SAFETY, _SHRINK, _GROW = 0.9, 0.1, 8.0
_FIRST_STEP = 0.05  # of the fastest time scale
_MAX_STEPS = 5_000  # in one segment, that is, between two events of the record

Rows = tuple[Float[Array, " lane"], ...]


class Tolerance(NamedTuple):
    """Local error per step that is accepted: absolute · scale + relative · |y|.

    The scale of a state is the amount that a record brings into it (`_scale`), so results do not depend on
    the units of amounts.
    """

    relative: float
    absolute: float


DEFAULT = Tolerance(1e-7, 1e-8)


class Failure(IntEnum):
    """Why a lane has no predictions."""

    NONE = 0
    NOT_FINITE = 1
    STEP_VANISHED = 2
    TOO_MANY_STEPS = 3

    @property
    def sentence(self) -> str:
        """The cause in words."""
        return {
            Failure.NONE: "the prediction exists",
            Failure.NOT_FINITE: "the prediction is not a finite number",
            Failure.STEP_VANISHED: "the solver's step size vanished: a state grows without bound or jumps",
            Failure.TOO_MANY_STEPS: f"the solver needed more than {_MAX_STEPS:,} steps between two events",
        }[self]


_NONE = int(Failure.NONE)


class Solution(NamedTuple):
    """Predictions at the observation times, the `Failure` of each lane, and the steps it took."""

    prediction: Float[Array, "time lane"]
    failure: Int[Array, " lane"]
    steps: Int[Array, " lane"]


class _State(NamedTuple):
    segment: Int[Array, " lane"]
    t: Float[Array, " lane"]
    y: Rows
    h: Float[Array, " lane"]
    rate: Rows | None
    put_away: tuple[Rows, Rows | None] | None  # state and rate during a run-in
    prediction: Float[Array, "time lane"]
    failure: Int[Array, " lane"]
    steps: Int[Array, " lane"]
    first: Int[Array, " lane"]  # the steps taken before this segment


def solve(
    model: OdeModel,
    p: dict,
    schedule: Schedule,
    n_times: int,
    output: Int[Array, "time *lane"] | None = None,
    tolerance: Tolerance = DEFAULT,
) -> Solution:
    """Integrate every lane through its schedule.

    `p` holds the individual parameters, each (lane,), or (epoch, lane) if covariates change; `output` says
    which of several outputs is observed. Where a lane fails, all its predictions are NaN and `failure` says
    why.
    """
    lanes = jax.tree.leaves(p)[0].shape[-1:]

    def during(epoch):
        """The individual parameters in an epoch of each lane."""
        if schedule.epoch is None:
            return p
        epoch = jnp.broadcast_to(epoch, lanes)[None]
        return jax.tree.map(lambda v: jnp.take_along_axis(v, epoch, axis=0)[0], p)

    initial_state = jax.vmap(lambda p: _scalars(model.initial_state(p)))
    initial = initial_state(during(0))
    n_states = len(initial)
    n_segments = schedule.end_h.shape[0]
    vector_field = jax.vmap(lambda t, y, p: _scalars(model.vector_field(t, y, p)))
    predict = jax.vmap(model.prediction)

    def field_of(p):
        return lambda t, y: vector_field(t, y, p)

    observation_index = jnp.arange(n_times)[:, None]

    def at(table, segment):
        segment = jnp.minimum(segment, n_segments - 1)
        return table[segment] if table.ndim == 1 else jnp.take_along_axis(table, segment[None], axis=0)[0]

    def epoch_of(table, segment):
        return None if table is None else at(jnp.asarray(table), segment)

    def act(segment, t, y, rate, put_away):
        """Run-in, reset, bolus and change of infusion rate at the start of a segment."""
        real = segment < n_segments
        if schedule.push is not None:
            pushes = real & at(jnp.asarray(schedule.push), segment)
            pops = real & at(jnp.asarray(schedule.pop), segment)
            base = initial_state(during(epoch_of(schedule.start_epoch, segment)))
            kept, kept_rate = put_away
            there = tuple(k + v - b for k, v, b in zip(kept, y, base, strict=True))
            kept = tuple(jnp.where(pushes, v, k) for v, k in zip(y, kept, strict=True))
            y = tuple(jnp.where(pops, a, v) for a, v in zip(there, y, strict=True))
            if rate is not None:
                both = tuple(k + r for k, r in zip(kept_rate, rate, strict=True))
                kept_rate = tuple(jnp.where(pushes, r, k) for r, k in zip(rate, kept_rate, strict=True))
                rate = tuple(jnp.where(pops, a, r) for a, r in zip(both, rate, strict=True))
            put_away = kept, kept_rate
        if schedule.restart_h is not None:
            restart = at(jnp.asarray(schedule.restart_h), segment)
            resets = real & ~jnp.isnan(restart)
            fresh = initial_state(during(epoch_of(schedule.start_epoch, segment)))
            t = jnp.where(resets, restart, t)
            y = tuple(jnp.where(resets, a, b) for a, b in zip(fresh, y, strict=True))
            if rate is not None:
                rate = tuple(jnp.where(resets, 0.0, r) for r in rate)
        compartment = at(jnp.asarray(schedule.compartment), segment)
        amount = jnp.where(real, at(jnp.asarray(schedule.amount), segment), 0.0)
        y = tuple(v + jnp.where(compartment == i, amount, 0.0) for i, v in enumerate(y))
        if rate is not None:
            change = jnp.where(real, at(jnp.asarray(schedule.rate), segment), 0.0)
            rate = tuple(r + jnp.where(compartment == i, change, 0.0) for i, r in enumerate(rate))
        return t, y, rate, put_away

    def unfinished(state):
        return jnp.any((state.segment < n_segments) & (state.failure == _NONE))

    def advance(state):
        active = (state.segment < n_segments) & (state.failure == _NONE)
        end = at(jnp.asarray(schedule.end_h), state.segment)
        left = end - state.t
        instant = left <= 0
        reaches = state.h >= 0.999 * left
        h = jnp.where(instant | ~active, 1.0, jnp.where(reaches, left, state.h))
        field = field_of(during(epoch_of(schedule.epoch, state.segment)))
        y, error = step(_with_rate(field, state.rate), state.t, state.y, h)
        e = lax.stop_gradient(_error_norm(error, state.y, y, scale, tolerance))
        e = jnp.where(jnp.isfinite(e), e, jnp.inf)
        accepted = (e <= 1) & active & ~instant
        arrives = active & (instant | (accepted & reaches))
        factor = jnp.clip(_SAFETY * jnp.maximum(e, 1e-12) ** -0.2, _SHRINK, _GROW)
        # A step cut short by an observation says little about the step that would have been possible.
        proposal = jnp.where(accepted & reaches, jnp.maximum(state.h, h * factor), h * factor)
        proposal = lax.stop_gradient(proposal)  # a step to an event whose time is modelled has a derivative
        y = tuple(jnp.where(accepted, new, old) for new, old in zip(y, state.y, strict=True))
        t = jnp.where(arrives, end, jnp.where(accepted, state.t + h, state.t))
        hits = (observation_index == at(jnp.asarray(schedule.record), state.segment)) & arrives
        there = during(epoch_of(schedule.record_epoch, state.segment))
        prediction = jnp.where(hits, model.choose(predict(t, y, there), output), state.prediction)
        segment = state.segment + arrives
        acted_t, acted_y, acted_rate, acted_put_away = act(segment, t, y, state.rate, state.put_away)
        t = jnp.where(arrives, acted_t, t)
        y = tuple(jnp.where(arrives, a, b) for a, b in zip(acted_y, y, strict=True))
        rate = None
        if state.rate is not None:
            rate = tuple(jnp.where(arrives, a, b) for a, b in zip(acted_rate, state.rate, strict=True))
        put_away = jax.tree.map(partial(jnp.where, arrives), acted_put_away, state.put_away)
        steps = state.steps + (active & ~instant)
        vanished = active & ~instant & ~accepted & (proposal < 1e-14 * (span + jnp.abs(t)))
        exhausted = active & ~arrives & (steps - state.first >= _MAX_STEPS)
        failure = jnp.where(
            vanished,
            jnp.where(jnp.isfinite(e), int(Failure.STEP_VANISHED), int(Failure.NOT_FINITE)),
            jnp.where(exhausted, int(Failure.TOO_MANY_STEPS), state.failure),
        )
        return _State(
            segment,
            t,
            y,
            jnp.where(instant | ~active, state.h, proposal),
            rate,
            put_away,
            prediction,
            failure,
            steps,
            jnp.where(arrives, steps, state.first),
        )

    zeros = jnp.zeros(lanes)
    rate = None if schedule.rate is None else (zeros,) * n_states
    count = jnp.zeros(lanes, dtype=jnp.int64)
    start = jnp.broadcast_to(jnp.asarray(schedule.start_h), lanes)
    span = jnp.broadcast_to(jnp.max(jnp.asarray(schedule.end_h), axis=0), lanes) - start
    field = field_of(during(0))
    scale = lax.stop_gradient(_scale(field, schedule, start, span, initial))
    put_away = None if schedule.push is None else (initial, rate)
    start, y, rate, put_away = act(count, start, initial, rate, put_away)
    fastest = jnp.maximum(_fastest_rate(_with_rate(field, rate), start, y), _FIRST_STEP / span)
    h = lax.stop_gradient(_FIRST_STEP / jnp.where(jnp.isfinite(fastest), fastest, 1.0))
    state = lax.while_loop(
        unfinished,
        jax.jit(advance),  # traced once, however often it is differentiated
        _State(count, start, y, h, rate, put_away, jnp.zeros((n_times, *lanes)), count, count, count),
    )
    finite = jnp.all(jnp.isfinite(lax.stop_gradient(state.prediction)), axis=0)
    failure = jnp.where((state.failure == _NONE) & ~finite, int(Failure.NOT_FINITE), state.failure)
    return Solution(jnp.where(failure == _NONE, state.prediction, jnp.nan), failure, state.steps)


def step(
    field: Callable[[Array, Rows], Rows], t: Float[Array, " lane"], y: Rows, h: Float[Array, " lane"]
) -> tuple[Rows, Rows]:
    """One Rodas5P step of size h: the new state and the estimate of its local error."""
    n = len(y)
    f0, df_dt = jax.jvp(lambda t: field(t, y), (t,), (jnp.ones_like(t),))
    jacobian = _jacobian(field, t, y)
    inverse_h = 1 / h
    solve_w = _lu(
        [[inverse_h / rodas5p.GAMMA * (r == c) - jacobian[r][c] for c in range(n)] for r in range(n)]
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


def _error_norm(
    error: Rows, old: Rows, new: Rows, scale: Rows, tolerance: Tolerance
) -> Float[Array, " lane"]:
    def accepted(a, b, s):
        return tolerance.absolute * s + tolerance.relative * jnp.maximum(jnp.abs(a), jnp.abs(b))

    parts = [jnp.square(e / accepted(a, b, s)) for e, a, b, s in zip(error, old, new, scale, strict=True)]
    return jnp.sqrt(sum(parts) / len(parts))


def _fastest_rate(field, t, y) -> Float[Array, " lane"]:
    """The largest entry of the Jacobian."""
    return jnp.max(jnp.stack([jnp.abs(entry) for row in _jacobian(field, t, y) for entry in row]), axis=0)


def _jacobian(field, t, y) -> list[list[Float[Array, " lane"]]]:
    """∂f_i/∂y_j as `[i][j]`."""
    n = len(y)
    basis = [
        tuple(jnp.ones_like(v) if i == j else jnp.zeros_like(v) for i, v in enumerate(y)) for j in range(n)
    ]
    columns = [jax.jvp(lambda *y: field(t, y), y, e)[1] for e in basis]
    return [[columns[j][i] for j in range(n)] for i in range(n)]


def _scale(field, schedule: Schedule, start, span, initial: Rows) -> Rows:
    """The scale of each state: how large it gets, to an order of magnitude, in whatever unit it has.

    It is the initial value or the largest dose into the state. A state that starts empty and is not dosed
    gets what its sources can pass to it: |∂f_i/∂y_j| / |∂f_j/∂y_j| of state j's scale, the whole of it if i
    is fed by j and has its unit. A state without a source gets what its derivative brings in the whole time.
    """
    n = len(initial)
    own = [jnp.abs(v) + dose for v, dose in zip(initial, _doses(schedule, start, initial), strict=True)]
    jacobian = _jacobian(field, start, tuple(own))
    derivative = [jnp.abs(f) for f in field(start, tuple(own))]
    scale = own
    for _ in range(n - 1):
        fed = []
        for i in range(n):
            passed = [
                jnp.abs(jacobian[i][j]) * scale[j] / jnp.where(lost > 0, lost, 1 / span)
                for j in range(n)
                if j != i
                for lost in (jnp.abs(jacobian[j][j]),)
            ]
            most = jnp.max(jnp.stack(passed), axis=0)
            fed.append(jnp.where((scale[i] > 0) | ~jnp.isfinite(most), scale[i], most))
        scale = fed
    scale = [
        jnp.where((s > 0) | ~jnp.isfinite(f * span), s, f * span)
        for s, f in zip(scale, derivative, strict=True)
    ]
    largest = jnp.max(jnp.stack(scale), axis=0)
    return tuple(jnp.where(s > 0, s, jnp.where(largest > 0, largest, 1.0)) for s in scale)


def _doses(schedule: Schedule, start, initial: Rows) -> list[Float[Array, " lane"]]:
    """The largest bolus into each state plus the most that is infused in one segment."""
    lanes = initial[0].shape
    compartment, amount, end = (
        jnp.asarray(v).reshape(len(v), -1) for v in (schedule.compartment, schedule.amount, schedule.end_h)
    )
    rate = None if schedule.rate is None else jnp.asarray(schedule.rate).reshape(amount.shape)
    length = jnp.diff(end, axis=0, prepend=jnp.broadcast_to(start, lanes).reshape(1, -1)[:, : end.shape[1]])
    doses = []
    for i in range(len(initial)):
        here = compartment == i
        dose = jnp.max(jnp.where(here, jnp.abs(amount), 0.0), axis=0)
        if rate is not None:
            running = jnp.cumsum(jnp.where(here, rate, 0.0), axis=0)
            dose = dose + jnp.max(jnp.abs(running) * length, axis=0)
        doses.append(jnp.broadcast_to(dose.reshape(dose.shape if dose.size > 1 else ()), lanes))
    return doses
