"""From the rows of a table to the records of all subjects."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from covary.errors import UserError
from covary.nlme.design import Bounds, Design, Records
from covary.nlme.nonmem.clock import elapsed_hours
from covary.nlme.nonmem.events import EVENT_COLUMNS, Censoring, DoseEvent, Observation, event_of
from covary.nlme.nonmem.selection import select
from covary.nlme.nonmem.text import Faults, Table, identifier, number, read_table

log = logging.getLogger(__name__)

_DOSE_LIKE = ("DOSE", "DOS", "AMOUNT")
_MOST_NAMES = 10


class _Subject(NamedTuple):
    start_h: float
    doses: list[DoseEvent]
    observations: list[Observation]
    rows: list[int]  # of the table


def read_nonmem(
    path: str | Path,
    *,
    covariates: Sequence[str] | None = None,
    ignore: str | Sequence[str] = (),
    accept: str | Sequence[str] = (),
    censoring: Censoring = "M3",
) -> Records:
    """Records from a NONMEM table with a header.

    Columns: ID, TIME and DV must be there. AMT, RATE, DUR or TINF, II, ADDL, EVID, CMT, DVID, MDV, CENS or
    BLQ, and LIMIT mean what they mean in NONMEM, nlmixr2 and Monolix. Every other column can be a covariate:
    those in `covariates`, which must then be numbers, or by default all columns of numbers. A model that
    needs a covariate that a subject lacks is refused when it is used. Covariates keep their names in upper
    case.

    Rows: EVID 0 with MDV 0 is an observation, EVID 1 a dose, EVID 2 neither. Without EVID a row with an AMT
    is a dose. Rows of a subject at the same time act in file order. Additional doses keep the place of the
    row that ordered them. A subject without observations is left out with a warning. `ignore` and `accept`
    choose rows by conditions such as `"DV.EQ.0, WT>80"`. TIME may be a time of day, see `elapsed_hours`.

    Time: a subject's record starts at time 0, or at its first row of any kind if that comes before 0. There
    the model has its initial state.

    Censored observations (CENS 1: below DV; −1: above DV; BLQ is another name): `M3` takes their
    probability. `M4` does so given that all observations lie above LIMIT (0 without it). `M1` leaves them
    out. Beal (2001), doi 10.1023/A:1012299115260.

    Raises UserError that names the file and the malformed lines, at most ten.
    """
    path = Path(path)
    table = select(read_table(path), ignore, accept)
    if missing := {"ID", "TIME", "DV"} - set(table.columns):
        raise UserError(
            f"{path}: must have the columns ID, TIME and DV, missing {', '.join(sorted(missing))}"
        )
    if not table.rows:
        raise UserError(f"{path}: has no rows")
    if censoring not in ("M1", "M3", "M4"):
        raise UserError(f"censoring must be M1, M3 or M4, got {censoring!r}")
    ids = [identifier(row.cells["ID"], decimal_comma=table.decimal_comma) for row in table.rows]
    subjects = _subjects(path, table, ids, censoring)
    _say_if_no_doses(path, table, subjects)
    if unobserved := [name for name, subject in subjects.items() if not subject.observations]:
        if len(unobserved) == len(subjects):
            raise UserError(f"{path}: no subject has an observation (EVID 0, MDV 0 and a number in DV)")
        log.warning("%s: left out because they have no observations: %s", path, _names("subject", unobserved))
        subjects = {name: subject for name, subject in subjects.items() if subject.observations}
    return _records(subjects, *_covariates(path, table, subjects, covariates))


def _subjects(path: Path, table: Table, ids: list[str], censoring: Censoring) -> dict[str, _Subject]:
    hours = elapsed_hours(path, table, ids)
    faults = Faults(path)
    subjects: dict[str, _Subject] = {}
    last_id, last_time = None, -np.inf
    for index, (row, subject, hour) in enumerate(zip(table.rows, ids, hours, strict=True)):

        def get(name: str, cells=row.cells) -> float:
            return number(name, cells.get(name, ""), decimal_comma=table.decimal_comma)

        try:
            if not subject or subject == ".":
                raise UserError("ID must not be empty")
            if subject != last_id:
                if subject in subjects:
                    raise UserError(f"the rows of subject {subject} must follow one another")
                subjects[subject] = _Subject(min(hour, 0.0), [], [], [])
                last_id, last_time = subject, -np.inf
            if hour < last_time:
                raise UserError(
                    f"TIME must not decrease within subject {subject}, got {hour:g} after {last_time:g}"
                )
            last_time = hour
            subjects[subject].rows.append(index)
            event = event_of(get, hour, row.line, censoring)
            if isinstance(event, DoseEvent):
                subjects[subject].doses.extend(
                    event._replace(time_h=dose.time_h, dose=dose) for dose in event.dose.repeated()
                )
            elif event is not None:
                subjects[subject].observations.append(event)
        except UserError as fault:
            faults.add(row.line, fault)
    faults.raise_any()
    return subjects


def _say_if_no_doses(path: Path, table: Table, subjects: dict[str, _Subject]) -> None:
    """A table that was meant to have doses must not be fitted without them.

    Raises UserError if there is no column AMT, but one such as DOSE that has values on rows without an
    observation.
    """
    if any(subject.doses for subject in subjects.values()):
        return
    if "AMT" not in table.columns:
        for column in set(_DOSE_LIKE) & set(table.columns):
            for row in table.rows:
                missing, dv, dose = (number(n, row.cells.get(n, "")) for n in ("MDV", "DV", column))
                if (missing == 1 or dv != dv) and dose > 0:
                    raise UserError(
                        f"{path}, line {row.line}: no dose was found; a dose is a row with an AMT, but "
                        f"there is no column AMT (rename {column} to AMT if it holds the doses)"
                    )
    log.warning("%s: no dose was found; a dose is a row with AMT > 0 and, if there is EVID, EVID 1", path)


def _covariates(
    path: Path, table: Table, subjects: dict[str, _Subject], wanted: Sequence[str] | None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Each covariate's values by subject, and why other columns cannot serve as one.

    Raises UserError if a wanted covariate cannot serve.
    """
    if wanted is None:
        names = [name for name in table.columns if name not in EVENT_COLUMNS]
    else:
        names = [name.upper() for name in wanted]
        if unknown := [name for name in names if name not in table.columns]:
            raise UserError(f"{path}: there is no column {', '.join(unknown)} in {', '.join(table.columns)}")
    values, unusable = {}, {}
    for name in names:
        try:
            values[name] = _covariate(path, name, table, subjects)
        except UserError as fault:
            if wanted is not None:
                raise
            unusable[name] = str(fault)
    if unusable:
        log.info("%s: not used as covariates: %s", path, ", ".join(unusable))
    return values, unusable


def _covariate(path: Path, name: str, table: Table, subjects: dict[str, _Subject]) -> np.ndarray:
    values = np.empty(len(subjects))
    for i, (subject, of_subject) in enumerate(subjects.items()):
        known = np.nan
        for index in of_subject.rows:
            row = table.rows[index]
            try:
                value = number(name, row.cells[name], decimal_comma=table.decimal_comma)
            except UserError as fault:
                raise UserError(f"{path}, line {row.line}: covariate {fault}") from None
            if value == value and known == known and value != known:
                raise UserError(
                    f"{path}, line {row.line}: covariate {name} must not change within subject {subject}, "
                    f"got {value:g} after {known:g}"
                )
            known = value if known != known else known
        if known != known:
            raise UserError(f"{path}: subject {subject} has no value of the covariate {name}")
        values[i] = known
    return values


def _records(
    subjects: dict[str, _Subject], covariates: dict[str, np.ndarray], unusable: dict[str, str]
) -> Records:
    n = len(subjects)
    n_times = max(len(subject.observations) for subject in subjects.values())
    n_doses = max(len(subject.doses) for subject in subjects.values())
    time, value = np.zeros((n, n_times)), np.full((n, n_times), np.nan)
    low, high, floor = (np.full((n, n_times), fill) for fill in (np.nan, np.nan, -np.inf))
    observed, before = np.zeros((n, n_times), dtype=bool), np.zeros((n, n_times), dtype=np.int64)
    output = np.zeros((n, n_times), dtype=np.int64)
    dose = np.zeros((3, n, n_doses))
    compartment = np.zeros((n, n_doses), dtype=np.int64)
    for i, subject in enumerate(subjects.values()):
        doses = sorted(subject.doses, key=lambda d: d[:2])
        for m, (_, _, d) in enumerate(doses):
            dose[:, i, m] = d.time_h, d.amount, d.duration_h
            compartment[i, m] = d.compartment - 1
        for j, o in enumerate(subject.observations):
            time[i, j], value[i, j], observed[i, j], output[i, j] = o.time_h, o.value, True, o.output
            low[i, j], high[i, j], floor[i, j] = o.low, o.high, o.floor
            before[i, j] = sum(d[:2] < o[:2] for d in doses)
        time[i, len(subject.observations) :] = subject.observations[-1].time_h
    design = Design(
        n,
        np.array([subject.start_h for subject in subjects.values()]),
        time,
        observed,
        *dose,
        compartment,
        before,
        covariates,
        tuple(subjects),
        output,
        unusable,
    )
    censored = ~np.isnan(low)
    bounds = Bounds(low, high, floor) if censored.any() or np.isfinite(floor).any() else None
    return Records.of(design, value, bounds=bounds)


def _names(kind: str, names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{kind}{'s' if len(names) > 1 else ''} {', '.join(names[:_MOST_NAMES])}{more}"
