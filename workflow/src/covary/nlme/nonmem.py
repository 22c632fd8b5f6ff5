"""Read and write tables in NONMEM's convention: one row an event, `.` for a missing value.

Known columns: ID TIME AMT RATE II ADDL EVID CMT DV MDV (and SS, which must be 0); every other column is a
covariate that must not change within a subject. Rows of a subject at the same time act in file order, and
additional doses (ADDL) keep the place of the row that ordered them.
"""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from covary.errors import UserError
from covary.nlme.design import Design, Records

_EVENT_COLUMNS = ("ID", "TIME", "AMT", "RATE", "II", "ADDL", "EVID", "CMT", "DV", "MDV", "SS")


class _Dose(NamedTuple):
    time_h: float
    line: int
    amount: float
    duration_h: float
    compartment: int


class _Observation(NamedTuple):
    time_h: float
    line: int
    value: float


def read_nonmem(path: str | Path) -> Records:
    """Records from a comma-separated NONMEM table with a header.

    Rows with EVID 0 and MDV 0 are observations, EVID 1 doses (a bolus, or an infusion if RATE > 0), EVID 2
    only carries covariates. Without an EVID column a row with an AMT is a dose. Raises UserError that
    names the file and every malformed line.
    """
    path = Path(path)
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    if not rows:
        raise UserError(f"{path}: must have a header, got an empty file")
    header = [name.strip().upper() for name in rows[0]]
    if missing := {"ID", "TIME", "DV"} - set(header):
        raise UserError(
            f"{path}: must have the columns ID, TIME and DV, missing {', '.join(sorted(missing))}"
        )
    if len(set(header)) < len(header):
        raise UserError(f"{path}: column names must differ, got {', '.join(header)}")
    covariate_names = [name for name in header if name not in _EVENT_COLUMNS]
    faults: list[str] = []
    subjects: dict[str, tuple[list[_Dose], list[_Observation], dict[str, float]]] = {}
    first: list[float] = []
    last_id, last_time = None, -np.inf
    for line, cells in enumerate(rows[1:], start=2):
        if not cells or all(not cell.strip() for cell in cells):
            continue
        try:
            row = _numbers(header, cells)
            subject = dict(zip(header, cells, strict=True))["ID"].strip()
            if not subject:
                raise UserError("ID must not be empty")
            if subject != last_id and subject in subjects:
                raise UserError(f"the rows of subject {subject} must follow one another")
            last_time = last_time if subject == last_id else -np.inf
            if np.isnan(row["TIME"]):
                raise UserError("TIME must be a number, got a missing value")
            if row["TIME"] < last_time:
                raise UserError(
                    f"TIME must not decrease within subject {subject}, got {row['TIME']:g} "
                    f"after {last_time:g}"
                )
            last_id, last_time = subject, row["TIME"]
            if subject not in subjects:
                first.append(row["TIME"])
            doses, observations, covariates = subjects.setdefault(subject, ([], [], {}))
            _add_event(row, line, doses, observations)
            for name in covariate_names:
                if np.isnan(row[name]):
                    continue
                if covariates.setdefault(name, row[name]) != row[name]:
                    raise UserError(
                        f"covariate {name} must not change within subject {subject}, got "
                        f"{row[name]:g} after {covariates[name]:g}"
                    )
        except ValueError as fault:
            faults.append(f"{path}, line {line}: {fault}")
    if faults:
        raise UserError("\n".join(faults))
    if not subjects:
        raise UserError(f"{path}: has no rows")
    return _records(path, subjects, covariate_names, np.array(first))


def write_nonmem(path: str | Path, records: Records) -> None:
    """Write records as a NONMEM table that `read_nonmem` reads back to the same records."""
    design = records.design
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["ID", "TIME", "AMT", "RATE", "EVID", "CMT", "DV", "MDV", *design.covariates])
        for subject in range(design.n_subjects):
            row, name = 0 if design.shared else subject, design.name(subject)
            covariates = [repr(float(v[subject if len(v) > 1 else 0])) for v in design.covariates.values()]
            events = []
            for m in np.flatnonzero(design.dose_amount[row]):
                amount, duration = design.dose_amount[row, m], design.dose_duration_h[row, m]
                rate = amount / duration if duration > 0 else 0.0
                events.append(
                    (
                        design.dose_time_h[row, m],
                        m,
                        1,
                        [amount, rate, 1, int(design.dose_compartment[row, m]) + 1, ".", 1],
                    )
                )
            for j in np.flatnonzero(design.observed[row]):
                present = records.present[subject, j]
                value = repr(float(records.observation[subject, j])) if present else "."
                events.append(
                    (
                        design.time_h[row, j],
                        design.doses_before[row, j],
                        0,
                        [0, 0, 0, ".", value, int(not present)],
                    )
                )
            for time, _, _, cells in sorted(events, key=lambda event: event[:3]):
                cells = [repr(float(c)) if isinstance(c, float) else c for c in cells]
                writer.writerow([name, repr(float(time)), *cells, *covariates])


def _numbers(header: list[str], cells: list[str]) -> dict[str, float]:
    """The cells of a row as numbers by column, NaN for a missing value; the ID stays out."""
    if len(cells) != len(header):
        raise UserError(f"must have {len(header)} fields, got {len(cells)}")
    row = {}
    for name, cell in zip(header, cells, strict=True):
        if name == "ID":
            continue
        text = cell.strip()
        try:
            row[name] = float("nan") if text in (".", "", "NA") else float(text)
        except ValueError:
            raise UserError(f"{name} must be a number or `.`, got {text!r}") from None
        if np.isinf(row[name]):
            raise UserError(f"{name} must be finite, got {text}")
    return row


def _add_event(
    row: dict[str, float], line: int, doses: list[_Dose], observations: list[_Observation]
) -> None:
    def get(name, default=0.0):
        value = row.get(name, np.nan)
        return default if np.isnan(value) else value

    amount, rate = get("AMT"), get("RATE")
    evid = get("EVID", float(amount != 0))
    if get("SS"):
        raise UserError(f"SS must be 0 (steady state is not supported), got {get('SS'):g}")
    if evid not in (0, 1, 2):
        raise UserError(f"EVID must be 0, 1 or 2 (resets are not supported), got {evid:g}")
    if evid == 0:
        if get("MDV") == 0:
            if np.isnan(row["DV"]):
                raise UserError(
                    "DV must be a number in an observation (or set MDV to 1), got a missing value"
                )
            observations.append(_Observation(row["TIME"], line, row["DV"]))
        return
    if evid == 2:
        return
    if amount <= 0:
        raise UserError(f"AMT must be > 0 in a dose, got {amount:g}")
    if rate < 0:
        raise UserError(f"RATE must be ≥ 0 (modelled rates are not supported), got {rate:g}")
    compartment = get("CMT", 1.0)
    if compartment < 1 or compartment != int(compartment):
        raise UserError(f"CMT must be a whole number ≥ 1 in a dose, got {compartment:g}")
    additional, interval = get("ADDL"), get("II")
    if additional < 0 or additional != int(additional):
        raise UserError(f"ADDL must be a whole number ≥ 0, got {additional:g}")
    if additional and interval <= 0:
        raise UserError(f"II must be > 0 with ADDL {additional:g}, got {interval:g}")
    doses += [
        _Dose(row["TIME"] + i * interval, line, amount, amount / rate if rate else 0.0, int(compartment) - 1)
        for i in range(int(additional) + 1)
    ]


def _records(path, subjects, covariate_names, first) -> Records:
    n = len(subjects)
    n_times = max(len(observations) for _, observations, _ in subjects.values())
    n_doses = max(len(doses) for doses, _, _ in subjects.values())
    time, value = np.zeros((n, n_times)), np.full((n, n_times), np.nan)
    observed, before = np.zeros((n, n_times), dtype=bool), np.zeros((n, n_times), dtype=np.int64)
    dose = np.zeros((3, n, n_doses))
    compartment = np.zeros((n, n_doses), dtype=np.int64)
    covariates = {name: np.zeros(n) for name in covariate_names}
    for i, (subject, (doses, observations, own)) in enumerate(subjects.items()):
        if not observations:
            raise UserError(f"{path}: subject {subject} has no observations")
        doses = sorted(doses, key=lambda d: d[:2])
        for m, d in enumerate(doses):
            dose[:, i, m] = d.time_h, d.amount, d.duration_h
            compartment[i, m] = d.compartment
        for j, o in enumerate(observations):
            time[i, j], value[i, j], observed[i, j] = o.time_h, o.value, True
            before[i, j] = sum(d[:2] < o[:2] for d in doses)
        time[i, len(observations) :] = observations[-1].time_h
        for name in covariate_names:
            if name not in own:
                raise UserError(f"{path}: subject {subject} has no value of the covariate {name}")
            covariates[name][i] = own[name]
    design = Design(
        n,
        np.minimum(0.0, first),
        time,
        observed,
        *dose[[0]],
        *dose[[1]],
        *dose[[2]],
        compartment,
        before,
        covariates,
        tuple(subjects),
    )
    return Records.of(design, value)
