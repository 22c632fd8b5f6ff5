"""What the solver does, segment by segment."""

from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float, Int

from covary.nlme.arrays import Array
from covary.nlme.design import Design, Varying

_NO_RECORD = -1


class Schedule(eqx.Module):
    """What the solver does, segment by segment: act, integrate to `end_h`, record.

    Arrays are (segment,) for a shared design, (segment, lane) for a ragged one. A field is None if no subject
    needs it.
    """

    start_h: Float[Array, "*lane"]
    end_h: Float[Array, "segment *lane"]
    record: Int[Array, "segment *lane"]  # index of the observation at the end, -1 for none
    amount: Float[Array, "segment *lane"]  # bolus at the start of the segment
    rate: Float[Array, "segment *lane"] | None  # change of the infusion rate there
    compartment: Int[Array, "segment *lane"]
    # Where time goes on from the initial state; NaN: no reset.
    restart_h: Float[Array, "segment *lane"] | None
    epoch: Int[Array, "segment *lane"] | None  # of covariates that change, during the segment
    record_epoch: Int[Array, "segment *lane"] | None  # the same at the observation
    start_epoch: Int[Array, "segment *lane"] | None  # the same at the start, where a reset finds its state
    # Where the state is put away before a run-in to steady state, and where both are added.
    push: Bool[Array, "segment *lane"] | None = None
    pop: Bool[Array, "segment *lane"] | None = None

    @classmethod
    def of(cls, design: Design, n_segments: int | None = None, *, varying: bool = False) -> "Schedule":
        """The schedule of a design, padded to `n_segments`; with covariates that change if `varying`."""
        covariates = design.varying if varying else None
        rows = [_segments(design, row, covariates) for row in range(design.time_h.shape[0])]
        width = n_segments or max(len(row) for row in rows)
        start = design.start_h
        table = np.zeros((len(rows), width, len(_Segment._fields)))
        for row, start_h, segments in zip(table, start, rows, strict=True):
            row[:] = _Segment(segments[-1].end_h if segments else start_h, _NO_RECORD)
            for i, segment in enumerate(segments):
                row[i] = segment
        table = np.moveaxis(table, 0, -1)  # (segment, field, lane)
        if design.shared:
            table, start = table[..., 0], start[0]
        columns = {name: np.ascontiguousarray(table[:, i]) for i, name in enumerate(_Segment._fields)}
        numbers = {name: columns[name].astype(np.int64) for name in _WHOLE}
        return cls(
            np.asarray(start),
            columns["end_h"],
            numbers["record"],
            columns["amount"],
            columns["rate"] if np.any(design.dose_duration_h > 0) else None,
            numbers["compartment"],
            None if design.dose_resets is None else columns["restart_h"],
            numbers["epoch"] if varying else None,
            numbers["record_epoch"] if varying else None,
            numbers["start_epoch"] if varying else None,
        )


class _Act(NamedTuple):
    amount: float = 0.0
    rate: float = 0.0  # change of the infusion rate
    compartment: int = 0
    restart_h: float = np.nan


class _Segment(NamedTuple):
    end_h: float
    record: int
    amount: float = 0.0
    rate: float = 0.0
    compartment: int = 0
    restart_h: float = np.nan
    epoch: int = 0
    record_epoch: int = 0
    start_epoch: int = 0


_WHOLE = ("record", "compartment", "epoch", "record_epoch", "start_epoch")  # counted, not measured


class _Event(NamedTuple):
    """Sorts by episode (how many resets came before), time, and place in the record."""

    episode: int
    time_h: float
    place: int
    kind: int  # at one time and place observations come first, then acts, then the ends of infusions
    record: int = _NO_RECORD
    act: _Act | None = None


def _segments(design: Design, row: int, varying: Varying | None) -> list[_Segment]:
    events = _events(design, row)
    if varying:
        events += _changes(varying, design.start_h[row], row, events)
    events.sort(key=lambda event: event[:4])
    segments = []
    now, act = design.start_h[row], _Act()
    for event in events:
        restarts = event.act is not None and not np.isnan(event.act.restart_h)
        idle = act.amount == 0 and act.rate == 0 and np.isnan(act.restart_h)
        if event.record != _NO_RECORD or not (restarts or (idle and event.time_h <= now)):
            times = ((now + event.time_h) / 2, event.time_h, now)
            epochs = [varying.epoch(row, time) for time in times] if varying else []
            segments.append(_Segment(event.time_h, event.record, *act, *epochs))
            act = _Act()
        now = event.time_h
        act = event.act or act
    return segments


def _events(design: Design, row: int) -> list[_Event]:
    """Observations, boluses, starts and ends of infusions, and resets."""
    before, n_doses = design.doses_before[row], design.dose_amount.shape[1]
    resets = np.zeros(n_doses, dtype=bool) if design.dose_resets is None else design.dose_resets[row]
    episodes = np.concatenate([[0], np.cumsum(resets)])
    observed = np.flatnonzero(design.observed[row])
    events = [_Event(int(episodes[before[j]]), design.time_h[row, j], before[j], 0, int(j)) for j in observed]
    for m in range(n_doses):
        amount, duration = design.dose_amount[row, m], design.dose_duration_h[row, m]
        if amount == 0 and not resets[m]:
            continue
        time, compartment = design.dose_time_h[row, m], int(design.dose_compartment[row, m])
        episode, restart = int(episodes[m + 1]), time if resets[m] else np.nan
        if duration > 0:
            rate = amount / duration
            events.append(_Event(episode, time, m, 1, act=_Act(0.0, rate, compartment, restart)))
            events.append(_Event(episode, time + duration, n_doses, 2, act=_Act(0.0, -rate, compartment)))
        else:
            events.append(_Event(episode, time, m, 1, act=_Act(amount, 0.0, compartment, restart)))
    # What happens after the last observation before a reset changes nothing.
    last = {episode: -np.inf for episode in range(int(episodes[-1]))}
    for event in events:
        if event.record != _NO_RECORD and event.episode in last:
            last[event.episode] = max(last[event.episode], event.time_h)
    return [event for event in events if event.time_h <= last.get(event.episode, np.inf)]


def _changes(varying: Varying, start_h: float, row: int, events: list[_Event]) -> list[_Event]:
    """Where covariates change between the events of an episode, so that no segment lies on both sides."""
    spans: dict[int, list[float]] = {0: [start_h]}
    for event in events:
        spans.setdefault(event.episode, []).append(event.time_h)
    return [
        _Event(episode, time, 0, -1, act=_Act())
        for time in varying.change_h[row]
        for episode, times in spans.items()
        if min(times) < time < max(times)
    ]
