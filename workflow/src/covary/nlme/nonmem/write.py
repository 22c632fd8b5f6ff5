"""Write records as a NONMEM table."""

import csv
from pathlib import Path

import numpy as np

from covary.nlme.design import Design, Records


def write_nonmem(path: str | Path, records: Records) -> None:
    """Write records as a NONMEM table that `read_nonmem` reads back to the same records.

    An infusion of given duration has a RATE and, for programs that know it, a DUR: with F ≠ 1 it is the
    duration that stays.
    """
    design, bounds = records.design, records.bounds
    header = ["ID", "TIME", "AMT", "RATE", "EVID", "CMT", "DV", "MDV"]
    if lasting := bool(np.any(_lasting(design))):
        header += ["DUR"]
    if design.dose_run_in is not None:
        header += ["SS", "II"]
    if bounds is not None:
        header += ["CENS", "LIMIT"]
    varying = {} if design.varying is None else design.varying.value
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*header, *design.covariates, *varying])
        for subject in range(design.n_subjects):
            row, name = 0 if design.shared else subject, design.name(subject)
            constant = [_text(v[subject if len(v) > 1 else 0]) for v in design.covariates.values()]
            for time, cells in _rows(records, subject):
                if not lasting:
                    cells = cells[:6] + cells[7:]
                censoring = [0, "."][: len(header) - 2 - len(cells)]
                epoch = 0 if design.varying is None else design.varying.epoch(row, time)
                changing = [_text(values[row, epoch]) for values in varying.values()]
                writer.writerow([name, _text(time), *cells, *censoring, *constant, *changing])


def _rows(records: Records, subject: int) -> list[tuple[float, list]]:
    """The time of each row of a subject, and its cells from AMT to MDV, DUR, SS and II if a dose is at
    steady state, and CENS and LIMIT if an observation is censored."""
    design = records.design
    row = 0 if design.shared else subject
    n_doses = design.dose_amount.shape[1]
    resets = np.zeros(n_doses, dtype=bool) if design.dose_resets is None else design.dose_resets[row]
    rates = np.zeros(n_doses) if design.dose_rate is None else design.dose_rate[row]
    episodes = np.concatenate([[0], np.cumsum(resets)])  # by how many doses came before
    steady, leading = _steady_states(design, row)
    no_dose = [] if steady is None else [0, 0]
    events: list[tuple[int, float, int, int, list[object]]] = []
    for m in np.flatnonzero(((design.dose_amount[row] != 0) | resets) & ~leading):
        amount, duration = design.dose_amount[row, m], design.dose_duration_h[row, m]
        at_steady_state = [] if steady is None else steady[m]
        evid = (4 if amount else 3) if resets[m] or at_steady_state[:1] == [1] else 1
        rate = rates[m] or (amount / duration if duration > 0 else 0.0)
        compartment = int(design.dose_compartment[row, m]) + 1
        lasts = _text(duration) if _lasting(design)[row, m] else 0
        cells = [_text(amount), _text(rate), evid, compartment, ".", 1, lasts, *at_steady_state]
        events.append((int(episodes[m + 1]), design.dose_time_h[row, m], int(m), 1, cells))
    for j in np.flatnonzero(design.observed[row]):
        present, before = records.present[subject, j], design.doses_before[row, j]
        value = _text(records.observation[subject, j]) if present else "."
        output = "." if design.output is None else int(design.output[row, j]) or "."
        cells = [0, 0, 0, output, value, int(not present), 0, *no_dose, *_censoring(records, subject, j)]
        events.append((int(episodes[before]), design.time_h[row, j], int(before), 0, cells))
    nothing: list[object] = [0, 0, 2, ".", ".", 1, 0, *no_dose]
    changes = [] if design.varying is None else design.varying.change_h[row]
    if np.any(np.isfinite(changes)):  # then time does not go back
        events = [(0, *event[1:]) for event in events]
        events += [(0, time, 0, -1, nothing) for time in changes if np.isfinite(time)]
    events.sort(key=lambda event: event[:4])
    start = design.start_h[row]
    needed = (
        start < min(0.0, events[0][1]) or len(changes) > 0
    )  # the first value of a covariate holds from here
    first = [(start, nothing)] if needed else []
    return first + [(time, cells) for _, time, _, _, cells in events]


def _lasting(design: Design) -> np.ndarray:
    """Which doses last for a given time, and not for what a given rate makes of it."""
    given = design.dose_duration_h > 0
    return given if design.dose_rate is None else given & (design.dose_rate == 0)


def _steady_states(design: Design, row: int) -> tuple[list[list] | None, np.ndarray]:
    """SS and II of each dose, and which doses only lead to a steady state."""
    n_doses = design.dose_amount.shape[1]
    leading = np.zeros(n_doses, dtype=bool)
    if design.dose_run_in is None:
        return None, leading
    steady: list[list] = [[0, 0] for _ in range(n_doses)]
    for m in np.flatnonzero(design.dose_run_in[row]):
        main = m + design.dose_run_in[row, m]
        leading[m:main] = True
        alone = design.dose_resets is not None and design.dose_resets[row, m]
        steady[main] = [
            1 if alone else 2,
            _text(design.dose_time_h[row, main] - design.dose_time_h[row, main - 1]),
        ]
    return steady, leading


def _censoring(records: Records, subject: int, time: int | np.integer) -> list:
    """CENS and LIMIT of an observation, if the table has them."""
    if records.bounds is None:
        return []
    bounds = records.bounds
    low, high, floor = (v[subject, time] for v in (bounds.low, bounds.high, bounds.floor))
    censored = 0 if np.isnan(low) else 1 if np.isfinite(high) else -1
    return [censored, _text(floor) if np.isfinite(floor) else "."]


def _text(number: float | np.floating) -> str:
    return repr(float(number))
