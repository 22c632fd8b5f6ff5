"""From the rows of a table to the records of all subjects."""

import logging
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from covary.errors import UserError
from covary.nlme.design import Bounds, Design, Records, SingleDose, Varying, dose_columns, single_doses
from covary.nlme.nonmem.clock import elapsed_hours
from covary.nlme.nonmem.covariates import BetweenRows, read_covariates
from covary.nlme.nonmem.events import Censoring, DoseEvent, Observation, event_of
from covary.nlme.nonmem.selection import leading_characters, select
from covary.nlme.nonmem.text import Faults, Row, Table, identifier, number, read_table

log = logging.getLogger(__name__)

_DOSE_LIKE = ("DOSE", "DOS", "AMOUNT")
_COMMENTED = re.compile(r"[Cc]\s*\d+\.?\d*")
_MOST_NAMES = 10


class _Subject(NamedTuple):
    start_h: float
    doses: list[DoseEvent]
    observations: list[Observation]
    rows: list[int]  # of the table
    times: list[float]  # of those rows


def read_nonmem(
    path: str | Path,
    *,
    covariates: Sequence[str] | None = None,
    ignore: str | Sequence[str] = (),
    accept: str | Sequence[str] = (),
    censoring: Censoring = "M3",
    between_rows: BetweenRows = "LOCF",
) -> Records:
    """Records from a NONMEM table with a header.

    Columns: ID, TIME and DV must be there. AMT, RATE, DUR or TINF, II, ADDL, EVID, CMT, DVID or YTYPE, MDV,
    CENS or BLQ, and LIMIT mean what they mean in NONMEM, nlmixr2 and Monolix, except as said below. Every
    other column can be a covariate: those in `covariates`, which must then be numbers, or by default all
    columns of numbers. A warning names columns whose names look like those of events. A model that
    needs a covariate that a subject lacks is refused when it is used. Covariates keep their names in upper
    case. One that changes within a subject holds from its row to the next (`between_rows` LOCF), or from
    the row before to its own (NOCB, as in NONMEM). A missing value is that of the row before.

    Rows: EVID 0 with MDV 0 is an observation, EVID 1 a dose, EVID 2 neither, EVID 3 a reset to the initial
    state, EVID 4 a reset and a dose. Without EVID a row with an AMT is a dose. A reset cancels infusions and
    additional doses; TIME may go back at it. Rows of a subject at the same time act in file order. Additional
    doses keep the place of the row that ordered them. RATE −1 and −2 leave the rate or the duration of an
    infusion to the model's `dosing`. SS 1 and 2 are doses at steady state, which 200 doses, one every II
    before it, bring about. A subject without observations is left out with a warning. `ignore` and `accept`
    choose rows by conditions such as `"DV.EQ.0, WT>80"`; `ignore="@"` leaves out rows that begin with a
    letter, and another character those that begin with it. An ID such as C7 among numbers is refused: it is a
    comment to NONMEM. TIME may be a time of day, and a column DATE may give the day (`elapsed_hours`).

    Time: a subject's record starts at time 0, or at its first row of any kind if that comes before 0. There
    the model has its initial state.

    Censored observations (CENS 1: below DV; −1: above DV; BLQ is another name): `M3` takes their
    probability. DV is the limit of quantification there, so 0 is refused where BLQ is 1. `M4` does so given
    that all observations lie above LIMIT (0 without it), which does not count otherwise. `M1` leaves them
    out. Beal (2001), doi 10.1023/A:1012299115260.

    Raises UserError that names the file and the malformed lines, at most ten.
    """
    if censoring not in ("M1", "M3", "M4"):
        raise UserError(f"censoring must be M1, M3 or M4, got {censoring!r}")
    design, value, bounds = _read(Path(path), covariates, ignore, accept, censoring, between_rows)
    return Records.of(design, value, bounds=bounds)


def read_design(
    path: str | Path,
    *,
    covariates: Sequence[str] | None = None,
    ignore: str | Sequence[str] = (),
    accept: str | Sequence[str] = (),
    between_rows: BetweenRows = "LOCF",
) -> Design:
    """The design of a NONMEM table that need not have a column DV: when to dose and to observe, for a
    simulation.

    Rows and columns mean what they mean to `read_nonmem`; DV and censoring do not count.

    Raises UserError that names the file and the malformed lines, at most ten.
    """
    return _read(Path(path), covariates, ignore, accept, None, between_rows)[0]


def _read(
    path: Path,
    covariates: Sequence[str] | None,
    ignore: str | Sequence[str],
    accept: str | Sequence[str],
    censoring: Censoring | None,
    between_rows: BetweenRows,
) -> tuple[Design, np.ndarray, Bounds | None]:
    """The design of a table, its observations, and the bounds of those that are censored; without
    `censoring` observations have no values."""
    characters, conditions = leading_characters(ignore)
    table = select(read_table(path, characters), conditions, accept)
    needed = ("ID", "TIME", "DV") if censoring else ("ID", "TIME")
    if missing := set(needed) - set(table.columns):
        columns = f"{', '.join(needed[:-1])} and {needed[-1]}"
        raise UserError(f"{path}: must have the columns {columns}, missing {', '.join(sorted(missing))}")
    if not table.rows:
        raise UserError(f"{path}: has no rows")
    ids = [identifier(row.cells["ID"], decimal_comma=table.decimal_comma) for row in table.rows]
    _check_identifiers(path, table, ids)
    subjects = _subjects(path, table, ids, censoring)
    _say_if_no_doses(path, table, subjects)
    _say_if_limits_are_zero(path, subjects)
    if censoring == "M3":
        _say_if_limits_do_not_count(path, table, subjects)
    if unobserved := [name for name, subject in subjects.items() if not subject.observations]:
        if len(unobserved) == len(subjects):
            value = " and a number in DV" if censoring else ""
            raise UserError(f"{path}: no subject has an observation (EVID 0, MDV 0{value})")
        log.warning("%s: left out because they have no observations: %s", path, _names("subject", unobserved))
        subjects = {name: subject for name, subject in subjects.items() if subject.observations}
    if between_rows not in ("LOCF", "NOCB"):
        raise UserError(f"between_rows must be LOCF or NOCB, got {between_rows!r}")
    return _assembled(subjects, *read_covariates(path, table, subjects, covariates, between_rows))


def _check_identifiers(path: Path, table: Table, ids: list[str]) -> None:
    """Raise UserError if an ID such as C7 stands among numbers: to NONMEM that row is a comment."""
    if not any(name.replace(".", "", 1).isdigit() for name in ids):
        return
    faults = Faults(path)
    for row, name in zip(table.rows, ids, strict=True):
        if _COMMENTED.fullmatch(name):
            faults.add(
                row.line,
                f"ID {name} among numbers is a comment to NONMEM; leave such rows out with ignore='C', or "
                "give the subject another name",
            )
    faults.raise_any()


def _subjects(path: Path, table: Table, ids: list[str], censoring: Censoring | None) -> dict[str, _Subject]:
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
                subjects[subject] = _Subject(min(hour, 0.0), [], [], [], [])
                last_id, last_time = subject, -np.inf
            event = event_of(get, hour, row.line, censoring)
            resets = isinstance(event, DoseEvent) and event.resets
            cancels = isinstance(event, DoseEvent) and event.cancels
            if hour < last_time and not resets:
                raise UserError(
                    f"TIME must not decrease within subject {subject}, got {hour:g} after {last_time:g}"
                )
            doses = subjects[subject].doses
            if cancels:  # what was still to come
                doses[:] = [dose for dose in doses if dose.time_h <= max(last_time, hour)]
            last_time = hour
            subjects[subject].rows.append(index)
            subjects[subject].times.append(hour)
            if isinstance(event, DoseEvent):
                doses.extend(_single(event))
            elif event is not None:
                subjects[subject].observations.append(event)
        except UserError as fault:
            faults.add(row.line, fault)
    faults.raise_any()
    return subjects


def _single(event: DoseEvent) -> list[DoseEvent]:
    """The doses of an event one by one; the first carries its reset."""
    if event.dose is None:
        return [event]
    first, *rest = event.dose.repeated()
    return [event._replace(dose=first)] + [DoseEvent(d.time_h, event.line, d) for d in rest]


def _columns(event: DoseEvent) -> list[SingleDose]:
    """A dose or reset as columns of a design."""
    if event.dose is None:
        return [SingleDose(event.time_h, 0.0, 0.0, 0, 0.0, True, 0, event.line)]
    return [dose._replace(line=event.line) for dose in single_doses(event.dose, event.resets)]


def _in_order(subject: _Subject) -> tuple[list[DoseEvent], list[int]]:
    """The doses in the order in which they act, and how many of them act before each observation."""
    resets = [dose.line for dose in subject.doses if dose.cancels]

    def place(event: DoseEvent | Observation) -> tuple[int, float, int]:
        return bisect_right(resets, event.line), event.time_h, event.line

    doses = sorted(subject.doses, key=place)
    places = [place(dose) for dose in doses]
    return doses, [bisect_left(places, place(observation)) for observation in subject.observations]


def _say_if_no_doses(path: Path, table: Table, subjects: dict[str, _Subject]) -> None:
    """A table that was meant to have doses must not be fitted without them.

    Raises UserError if there is no column AMT, but one such as DOSE that has values on rows without an
    observation.
    """
    if any(subject.doses for subject in subjects.values()):
        return
    if "AMT" not in table.columns:
        for column in [name for name in _DOSE_LIKE if name in table.columns]:
            for row in table.rows:
                missing, dv, dose = (_if_number(table, row, name) for name in ("MDV", "DV", column))
                if (missing == 1 or dv != dv) and dose > 0:
                    raise UserError(
                        f"{path}, line {row.line}: no dose was found; a dose is a row with an AMT, but "
                        f"there is no column AMT (rename {column} to AMT if it holds the doses, and to "
                        "another name if not)"
                    )
    log.warning("%s: no dose was found; a dose is a row with AMT > 0 and, if there is EVID, EVID 1", path)


def _say_if_limits_do_not_count(path: Path, table: Table, subjects: dict[str, _Subject]) -> None:
    """LIMIT is part of M4. Monolix would take it as the other bound of a censored value."""
    censored = any(o.high == o.high for subject in subjects.values() for o in subject.observations)
    if censored and any(
        _if_number(table, row, "LIMIT") == _if_number(table, row, "LIMIT") for row in table.rows
    ):
        log.warning("%s: LIMIT does not count with censoring M3; choose M4 if no value lies below it", path)


def _say_if_limits_are_zero(path: Path, subjects: dict[str, _Subject]) -> None:
    """The DV of a censored observation is its limit, not the 0 that some write for what was not seen."""
    if any(o.high == 0 for subject in subjects.values() for o in subject.observations):
        log.warning(
            "%s: censored observations with DV 0 are known to lie below 0, since DV is the limit", path
        )


def _if_number(table: Table, row: Row, name: str) -> float:
    """A cell as a number; NaN if it is missing or a text."""
    try:
        return number(name, row.cells.get(name, ""), decimal_comma=table.decimal_comma)
    except UserError:
        return float("nan")


def _assembled(
    subjects: dict[str, _Subject],
    covariates: dict[str, np.ndarray],
    varying: Varying | None,
    unusable: dict[str, str],
) -> tuple[Design, np.ndarray, Bounds | None]:
    """The rows of all subjects side by side, padded."""
    n = len(subjects)
    n_times = max(len(subject.observations) for subject in subjects.values())
    time, value = np.zeros((n, n_times)), np.full((n, n_times), np.nan)
    low, high, floor = (np.full((n, n_times), fill) for fill in (np.nan, np.nan, -np.inf))
    observed, before = np.zeros((n, n_times), dtype=bool), np.zeros((n, n_times), dtype=np.int64)
    output, line = np.zeros((n, n_times), dtype=np.int64), np.zeros((n, n_times), dtype=np.int64)
    single = []
    for i, subject in enumerate(subjects.values()):
        doses, of_observations = _in_order(subject)
        columns = [_columns(event) for event in doses]
        at = np.concatenate([[0], np.cumsum([len(of_dose) for of_dose in columns])]).astype(np.int64)
        before[i, : len(subject.observations)] = at[of_observations]
        single.append([dose for of_dose in columns for dose in of_dose])
        for j, o in enumerate(subject.observations):
            time[i, j], value[i, j], observed[i, j], output[i, j] = o.time_h, o.value, True, o.output
            low[i, j], high[i, j], floor[i, j], line[i, j] = o.low, o.high, o.floor, o.line
        time[i, len(subject.observations) :] = subject.observations[-1].time_h
    design = Design(
        n_subjects=n,
        start_h=np.array([subject.start_h for subject in subjects.values()]),
        time_h=time,
        observed=observed,
        doses_before=before,
        covariates=covariates,
        subject_ids=tuple(subjects),
        output=output,
        observation_line=line,
        varying=varying,
        unusable=unusable,
        **dose_columns(single),
    )
    censored = ~np.isnan(low)
    bounds = Bounds(low, high, floor) if censored.any() or np.isfinite(floor).any() else None
    return design, value, bounds


def _names(kind: str, names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{kind}{'s' if len(names) > 1 else ''} {', '.join(names[:_MOST_NAMES])}{more}"
