"""What the solver does, segment by segment."""

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int

from covary.nlme.arrays import Array
from covary.nlme.design import Design

_NO_RECORD = -1


class Schedule(eqx.Module):
    """What the solver does, segment by segment: act, integrate to `end_h`, record.

    Arrays are (segment,) for a shared design, (segment, lane) for a ragged one.
    """

    start_h: Float[Array, "*lane"]
    end_h: Float[Array, "segment *lane"]
    record: Int[Array, "segment *lane"]  # index of the observation at the end, -1 for none
    amount: Float[Array, "segment *lane"]  # bolus at the start of the segment
    rate: Float[Array, "segment *lane"] | None  # change of the infusion rate there; None without infusions
    compartment: Int[Array, "segment *lane"]

    @classmethod
    def of(cls, design: Design, n_segments: int | None = None) -> "Schedule":
        """The schedule of a design, padded to `n_segments`."""
        rows = [_segments(design, row) for row in range(design.time_h.shape[0])]
        width = n_segments or max(len(row) for row in rows)
        start = design.start_h
        table = np.zeros((len(rows), width, 5))
        for row, start_h, segments in zip(table, start, rows, strict=True):
            last = segments[-1][1] if segments else start_h
            row[:] = (last, _NO_RECORD, 0.0, 0.0, 0.0)
            for i, (_, end, *rest) in enumerate(segments):
                row[i] = (end, *rest)
        table = np.moveaxis(table, 0, -1)  # (segment, field, lane)
        if design.shared:
            table, start = table[..., 0], start[0]
        end, record, amount, rate, compartment = (np.ascontiguousarray(table[:, i]) for i in range(5))
        infused = np.any(design.dose_duration_h > 0)
        return cls(
            np.asarray(start),
            end,
            record.astype(np.int64),
            amount,
            rate if infused else None,
            compartment.astype(np.int64),
        )


def _segments(design: Design, row: int) -> list[tuple[float, float, int, float, float, int]]:
    """(start, end, record, amount, rate change, compartment) of each segment of one row."""
    # Each event sorts by time, then by its place in the record; infusions end after all else at that time.
    before = design.doses_before[row]
    n_doses = design.dose_amount.shape[1]
    events = [
        (design.time_h[row, j], before[j], 1, ("observe", int(j)))
        for j in np.flatnonzero(design.observed[row])
    ]
    for m in range(n_doses):
        amount, duration = design.dose_amount[row, m], design.dose_duration_h[row, m]
        if amount == 0:
            continue
        time, compartment = design.dose_time_h[row, m], int(design.dose_compartment[row, m])
        if duration > 0:
            events.append((time, m, 2, ("rate", amount / duration, compartment)))
            events.append((time + duration, n_doses, 2, ("rate", -amount / duration, compartment)))
        else:
            events.append((time, m, 2, ("bolus", amount, compartment)))
    events.sort(key=lambda event: event[:3])
    segments = []
    now, act = design.start_h[row], (0.0, 0.0, 0)
    for time, _, _, (kind, *what) in events:
        if kind == "observe":
            segments.append((now, time, what[0], *act))
            now, act = time, (0.0, 0.0, 0)
            continue
        if act != (0.0, 0.0, 0) or time > now:
            segments.append((now, time, _NO_RECORD, *act))
        now = time
        act = (what[0], 0.0, what[1]) if kind == "bolus" else (0.0, what[0], what[1])
    return segments
