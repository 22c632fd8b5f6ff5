"""Doses whose arrival depends on the individual parameters, and doses at steady state.

The schedule of such a record is not known before its parameters are. `Plan` holds its events; `Plan.schedule`
puts them in order for each subject and keeps the derivatives of their times.
"""

from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Bool, Float, Int

from covary.nlme.arrays import Array
from covary.nlme.design import MODELLED_DURATION, MODELLED_RATE, Design
from covary.nlme.schedule import Schedule

_OBSERVATION, _START, _STOP, _CHANGE, _RESET, _PUSH, _POP, _PADDING = range(8)
_LAST = 1_000_000  # an episode after all others


class Dosing(NamedTuple):
    """How the doses of a compartment enter it: lag time, bioavailability, and the rate or duration of
    infusions whose RATE is −1 or −2 (ALAG, F, R and D of NONMEM)."""

    lag_h: Any = 0.0
    bioavailability: Any = 1.0
    rate: Any = None
    duration_h: Any = None


class Given(NamedTuple):
    """What enters of each dose, when, and over what time."""

    lag_h: Float[Array, "dose lane"]
    amount: Float[Array, "dose lane"]
    duration_h: Float[Array, "dose lane"]


def given_doses(
    dosing: dict[int, Dosing],
    lanes: int,
    amount: Float[Array, "dose *lane"],
    duration_h: Float[Array, "dose *lane"],
    rate: Float[Array, "dose *lane"],
    compartment: Int[Array, "dose *lane"],
    epoch: Int[Array, "dose *lane"] | None = None,
) -> Given:
    """The doses as the individual parameters let them enter.

    A given rate lasts longer if more enters; a given duration has a higher rate. Values of `dosing` are
    (lane,), or (epoch, lane) if `epoch` says when each dose is given.
    """
    wide = partial(_wide, lanes=lanes)
    amount, duration_h, rate, compartment = map(wide, (amount, duration_h, rate, compartment))

    def chosen(field: str, default):
        value = default
        for number, own in dosing.items():
            of_own = getattr(own, field)
            if of_own is None:
                continue
            of_own = jnp.asarray(of_own)
            if epoch is not None:
                of_own = jnp.take_along_axis(of_own, wide(epoch), axis=0)
            value = jnp.where(compartment == number - 1, of_own, value)
        return value

    entering = amount * chosen("bioavailability", jnp.ones_like(amount))
    modelled_rate = chosen("rate", jnp.ones_like(amount))
    modelled_duration = chosen("duration_h", jnp.ones_like(amount))
    lasting = jnp.select(
        [rate > 0, rate == MODELLED_RATE, rate == MODELLED_DURATION],
        [entering / jnp.where(rate > 0, rate, 1.0), entering / modelled_rate, modelled_duration],
        duration_h,
    )
    return Given(chosen("lag_h", jnp.zeros_like(amount)), entering, lasting)


class Plan(eqx.Module):
    """The events of a record, in no order; (event,) or (event, lane), doses (dose,) or (dose, lane).

    A dose at steady state that adds to what is there (SS 2) is run in on the side: what is there is put away,
    the model starts anew before, and both are added at the time of the dose.
    """

    start_h: Float[Array, "*lane"]
    kind: Int[Array, "event *lane"]
    time_h: Float[Array, "event *lane"]  # of a dose: as the record has it
    number: Int[Array, "event *lane"]  # of the observation or the dose
    episode: Int[Array, "event *lane"]
    place: Int[Array, "event *lane"]
    until_h: Float[Array, "event *lane"]  # the end of a run-in on the side; NaN outside
    hold_h: Float[Array, "event *lane"]  # covariates are those of a time not before it
    restart_h: Float[Array, "event *lane"]
    amount: Float[Array, "dose *lane"]
    duration_h: Float[Array, "dose *lane"]
    rate: Float[Array, "dose *lane"]
    compartment: Int[Array, "dose *lane"]
    dose_epoch: Int[Array, "dose *lane"] | None  # of covariates, when the dose is given
    change_h: Float[Array, "change *lane"] | None
    backward: bool = eqx.field(static=True)
    infuses: bool = eqx.field(static=True)
    runs_in: bool = eqx.field(static=True)
    resets: bool = eqx.field(static=True)

    @classmethod
    def of(cls, design: Design, *, varying: bool) -> "Plan":
        """The plan of a design, with covariates that change if `varying`."""
        rows = [_events(design, row, varying) for row in range(len(design.time_h))]
        width = max(map(len, rows))
        table = np.array([row + [_Event(_PADDING, 0.0)] * (width - len(row)) for row in rows], dtype=float)
        table = np.moveaxis(table, 0, -1)
        doses = [design.dose_amount, design.dose_duration_h, _rates(design), design.dose_compartment]
        doses = [np.ascontiguousarray(v.T) for v in doses]
        changes = epochs = None
        if varying and design.varying is not None:
            changes = np.ascontiguousarray(design.varying.change_h.T)
            epochs = np.zeros(design.dose_amount.T.shape, dtype=np.int64)
            for row, events in enumerate(rows):
                for event in events:
                    if event.kind == _START:
                        time = max(event.time_h, event.hold_h, np.nan_to_num(event.until_h, nan=-np.inf))
                        epochs[event.number, row] = design.varying.epoch(row, time)
        start = design.start_h
        if design.shared:
            table, start, doses = table[..., 0], start[0], [v[:, 0] for v in doses]
            changes, epochs = (None if v is None else v[:, 0] for v in (changes, epochs))
        columns = {name: np.ascontiguousarray(table[:, i]) for i, name in enumerate(_Event._fields)}
        whole = {name: columns.pop(name).astype(np.int64) for name in ("kind", "number", "episode", "place")}
        return cls(
            start_h=np.asarray(start),
            **columns,
            **whole,
            amount=doses[0],
            duration_h=doses[1],
            rate=doses[2],
            compartment=doses[3],
            dose_epoch=epochs,
            change_h=changes,
            backward=design.varying is not None and design.varying.backward,
            infuses=bool(np.any(_infused(design))),
            runs_in=bool(np.any(whole["kind"] == _PUSH)),
            resets=bool(np.any(np.isin(whole["kind"], (_RESET, _PUSH)))),
        )

    def schedule(self, dosing: dict[int, Dosing], lanes: int) -> Schedule:
        """The events in their order, as segments of the solver, one column per lane."""
        wide = partial(_wide, lanes=lanes)
        acts = self._acts(dosing, lanes)
        until = wide(self.until_h)
        aside = acts.time_h < until  # never where `until` is NaN
        main_time = jnp.where(aside, until, acts.time_h)
        keys = (acts.time_h, wide(self.place), main_time, wide(self.episode))
        order = jnp.lexsort([lax.stop_gradient(key) for key in keys], axis=0)

        def ordered(values):
            return jnp.take_along_axis(values, order, axis=0)

        def before(values, nothing):
            """What the event at the start of each segment does."""
            return jnp.concatenate([jnp.full((1, lanes), nothing, dtype=values.dtype), ordered(values)[:-1]])

        kind = ordered(wide(self.kind))
        start = jnp.broadcast_to(jnp.asarray(self.start_h, dtype=float), (lanes,))
        begin, end = _spans(start, kind, ordered(acts.time_h), ordered(wide(self.restart_h)))
        epochs = (None, None, None)
        if self.change_h is not None:
            hold = ordered(jnp.where(aside, until, wide(self.hold_h)))
            times = (begin + end) / 2, end, begin
            epochs = tuple(self._epoch(jnp.maximum(lax.stop_gradient(t), hold), lanes) for t in times)
        return Schedule(
            start,
            end,
            jnp.where(kind == _OBSERVATION, ordered(wide(self.number)), -1),
            before(acts.amount, 0.0),
            before(acts.rate, 0.0) if self.infuses else None,
            before(acts.compartment, 0),
            before(wide(self.restart_h), jnp.nan) if self.resets else None,
            *epochs,
            before(wide(self.kind) == _PUSH, False) if self.runs_in else None,
            before(wide(self.kind) == _POP, False) if self.runs_in else None,
        )

    def _acts(self, dosing: dict[int, Dosing], lanes: int) -> "_Acts":
        """When the events happen, and what enters at them."""
        wide = partial(_wide, lanes=lanes)
        kind, time = wide(self.kind), wide(self.time_h)
        starts, stops = kind == _START, kind == _STOP
        nothing = jnp.zeros(kind.shape)
        if not len(self.amount):
            return _Acts(time, nothing, nothing, jnp.zeros(kind.shape, dtype=int))
        dose = given_doses(
            dosing, lanes, self.amount, self.duration_h, self.rate, self.compartment, self.dose_epoch
        )
        of_dose = jnp.where(starts | stops, wide(self.number), 0)

        def of(values):
            return jnp.take_along_axis(wide(values), of_dose, axis=0)

        time = time + jnp.where(starts | stops, of(dose.lag_h), 0.0)
        time = time + jnp.where(stops, of(dose.duration_h), 0.0)
        infused = of((self.duration_h > 0) | (self.rate < 0))
        amount = jnp.where(starts & ~infused, of(dose.amount), 0.0)
        rate = jnp.where(infused, of(dose.amount) / jnp.where(infused, of(dose.duration_h), 1.0), 0.0)
        change = jnp.where(starts, rate, 0.0) - jnp.where(stops, rate, 0.0)
        return _Acts(time, amount, change, jnp.where(starts | stops, of(self.compartment), 0))

    def _epoch(self, time: Float[Array, "event lane"], lanes: int) -> Int[Array, "event lane"]:
        """The epoch of the covariates at each time."""
        changes = _wide(self.change_h, lanes)[:, None]
        return jnp.sum(changes < time if self.backward else changes <= time, axis=0)


class _Acts(NamedTuple):
    """What happens at the events of a plan: a bolus, or a change of the infusion rate."""

    time_h: Float[Array, "event lane"]
    amount: Float[Array, "event lane"]
    rate: Float[Array, "event lane"]
    compartment: Int[Array, "event lane"]


def _spans(start, kind, time, restart) -> tuple[Float[Array, "event lane"], Float[Array, "event lane"]]:
    """Where the segment to each event begins and ends. No time passes before a reset."""
    still = (kind == _RESET) | (kind == _PADDING)

    def follow(now, event):
        time, still, restart = event
        end = jnp.where(still, now, time)
        return jnp.where(jnp.isnan(restart), end, restart), (now, end)

    return lax.scan(follow, start, (time, still, restart))[1]


def _wide(values: Array, lanes: int) -> Array:
    """Rows that all lanes share or not, one column per lane."""
    values = jnp.asarray(values)
    return jnp.broadcast_to(values if values.ndim > 1 else values[:, None], (values.shape[0], lanes))


class _Event(NamedTuple):
    kind: int
    time_h: float
    number: int = 0
    episode: int = _LAST
    place: int = 0
    until_h: float = np.nan
    hold_h: float = -np.inf
    restart_h: float = np.nan


def _events(design: Design, row: int, varying: bool) -> list[_Event]:
    """The events of a row. At one time, a smaller place comes first."""
    n, times = design.dose_amount.shape[1], design.dose_time_h[row]
    resets = np.zeros(n, dtype=bool) if design.dose_resets is None else design.dose_resets[row]
    run_in = np.zeros(n, dtype=np.int64) if design.dose_run_in is None else design.dose_run_in[row]
    episodes = [0, *np.cumsum(resets).tolist()]
    # By episode: the time before which covariates are those at this time.
    hold = {0: -np.inf}
    for m in np.flatnonzero(resets).tolist():
        hold[episodes[m + 1]] = times[m + run_in[m]] if run_in[m] else -np.inf
    events = [
        _Event(_OBSERVATION, design.time_h[row, j], int(j), episodes[b], 4 * b, hold_h=hold[episodes[b]])
        for j in np.flatnonzero(design.observed[row])
        for b in (int(design.doses_before[row, j]),)
    ]
    infused = _infused(design)[row]
    until, first = np.full(n, np.nan), np.arange(n)
    for m in np.flatnonzero(run_in).tolist():
        if not resets[m]:
            until[m : m + run_in[m]], first[m : m + run_in[m]] = times[m + run_in[m]], m
    for m in range(n):
        episode = episodes[m + 1]
        kept = {"episode": episode, "hold_h": hold[episode]}
        if resets[m]:
            events.append(_Event(_RESET, times[m], place=4 * m + 1, restart_h=times[m], **kept))
        if run_in[m] and not resets[m]:
            put = {"episode": episode, "hold_h": until[m]}
            events.append(_Event(_PUSH, until[m], place=4 * m + 1, restart_h=times[m], **put))
            events.append(_Event(_POP, until[m], place=4 * m + 3, **put))
        if design.dose_amount[row, m] > 0:
            place = 4 * int(first[m]) + 2
            events.append(_Event(_START, times[m], m, place=place, until_h=until[m], **kept))
            if infused[m]:
                place = place if np.isfinite(until[m]) else 4 * n + 4
                events.append(_Event(_STOP, times[m], m, place=place, until_h=until[m], **kept))
    if varying and design.varying is not None:
        begins = [design.start_h[row], *(times[m + run_in[m]] for m in np.flatnonzero(resets))]
        for change in design.varying.change_h[row]:
            if np.isfinite(change) and change > begins[0]:
                episode = int(np.searchsorted(begins, change, side="right")) - 1
                events.append(_Event(_CHANGE, change, episode=episode, place=-1, hold_h=hold[episode]))
    return events


def _infused(design: Design) -> Bool[np.ndarray, "row dose"]:
    return (design.dose_duration_h > 0) | (_rates(design) < 0)


def _rates(design: Design) -> Float[np.ndarray, "row dose"]:
    return np.zeros_like(design.dose_amount) if design.dose_rate is None else design.dose_rate
