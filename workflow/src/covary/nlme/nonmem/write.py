"""Write records as a NONMEM table."""

import csv
from pathlib import Path

import numpy as np

from covary.nlme.design import Records


def write_nonmem(path: str | Path, records: Records) -> None:
    """Write records as a NONMEM table that `read_nonmem` reads back to the same records."""
    design, bounds = records.design, records.bounds
    header = ["ID", "TIME", "AMT", "RATE", "EVID", "CMT", "DV", "MDV"]
    if bounds is not None:
        header += ["CENS", "LIMIT"]
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*header, *design.covariates])
        for subject in range(design.n_subjects):
            name = design.name(subject)
            covariates = [_text(v[subject if len(v) > 1 else 0]) for v in design.covariates.values()]
            for time, cells in _rows(records, subject):
                censoring = [0, "."] * (len(header) - 8)
                row = [name, _text(time), *cells, *censoring]
                writer.writerow([*row[: len(header)], *covariates])


def _rows(records: Records, subject: int) -> list[tuple[float, list]]:
    """The time of each row of a subject, and its cells from AMT to MDV, with CENS and LIMIT if censored."""
    design = records.design
    row = 0 if design.shared else subject
    events = []
    for m in np.flatnonzero(design.dose_amount[row]):
        amount, duration = design.dose_amount[row, m], design.dose_duration_h[row, m]
        rate = amount / duration if duration > 0 else 0.0
        compartment = int(design.dose_compartment[row, m]) + 1
        cells = [_text(amount), _text(rate), 1, compartment, ".", 1]
        events.append((design.dose_time_h[row, m], m, 1, cells))
    for j in np.flatnonzero(design.observed[row]):
        present = records.present[subject, j]
        value = _text(records.observation[subject, j]) if present else "."
        output = "." if design.output is None else int(design.output[row, j]) or "."
        cells = [0, 0, 0, output, value, int(not present)]
        events.append(
            (design.time_h[row, j], design.doses_before[row, j], 0, cells + _censoring(records, subject, j))
        )
    events.sort(key=lambda event: event[:3])
    start = design.start_h[row]
    first = [(start, [0, 0, 2, ".", ".", 1])] if start < min(0.0, events[0][0]) else []
    return first + [(time, cells) for time, _, _, cells in events]


def _censoring(records: Records, subject: int, time: int | np.integer) -> list:
    """CENS and LIMIT of an observation, if the table has them."""
    if records.bounds is None:
        return []
    low, high, floor = (
        v[subject, time] for v in (records.bounds.low, records.bounds.high, records.bounds.floor)
    )
    censored = 0 if np.isnan(low) else 1 if np.isfinite(high) else -1
    return [censored, _text(floor) if np.isfinite(floor) else "."]


def _text(number: float | np.floating) -> str:
    return repr(float(number))
