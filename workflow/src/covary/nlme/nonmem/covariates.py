"""Which columns of a table are covariates, and their values by subject."""

import logging
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from covary.errors import UserError
from covary.nlme.design import Varying
from covary.nlme.nonmem.events import EVENT_COLUMNS
from covary.nlme.nonmem.text import Table, number

log = logging.getLogger(__name__)

BetweenRows = Literal["LOCF", "NOCB"]
_OF_OTHER_PROGRAMS = ("ADM",)  # Monolix: which way a dose goes; here that is CMT
_PARTS_OF_EVENTS = ("AMT", "RATE", "DUR", "TINF", "ADDL", "EVID", "MDV", "CMT", "CENS", "BLQ", "LOQ", "DATE")


@runtime_checkable
class RowsOfSubject(Protocol):
    """Which rows of the table a subject has, and when."""

    @property
    def rows(self) -> list[int]:
        """Their indices in the table."""

    @property
    def times(self) -> list[float]:
        """Their times in hours."""


def read_covariates(
    path: Path,
    table: Table,
    subjects: Mapping[str, RowsOfSubject],
    wanted: Sequence[str] | None,
    between_rows: BetweenRows,
) -> tuple[dict[str, np.ndarray], Varying | None, dict[str, str]]:
    """Covariates that are constant within each subject, those that change, and why other columns are none.

    Raises UserError if a wanted covariate cannot serve.
    """
    if wanted is None:
        names = [name for name in table.columns if name not in EVENT_COLUMNS]
        if alike := [name for name in names if _looks_like_an_event(name)]:
            log.warning(
                "%s: %s count as covariates only, not as doses or observations; see `read_nonmem` for the "
                "names of those",
                path,
                ", ".join(alike),
            )
    else:
        names = [name.upper() for name in wanted]
        if unknown := [name for name in names if name not in table.columns]:
            raise UserError(f"{path}: there is no column {', '.join(unknown)} in {', '.join(table.columns)}")
    constant, changing, unusable = {}, {}, {}
    for name in names:
        try:
            values = _values(path, name, table, subjects)
        except UserError as fault:
            if wanted is not None:
                raise
            unusable[name] = str(fault)
            continue
        if all(np.all(v == v[0]) for v in values):
            constant[name] = np.array([v[0] for v in values])
        else:
            changing[name] = values
    if unusable:
        log.warning("%s: not used as covariates: %s", path, ", ".join(unusable))
    varying = _varying(list(subjects.values()), changing, between_rows) if changing else None
    return constant, varying, unusable


def _looks_like_an_event(name: str) -> bool:
    """Whether a column that is no event has a name that could be one: a slip, or that of another program."""
    return (
        name in _OF_OTHER_PROGRAMS
        or any(part in name for part in _PARTS_OF_EVENTS)
        or bool(get_close_matches(name, EVENT_COLUMNS, n=1, cutoff=0.75))
    )


def _values(path: Path, name: str, table: Table, subjects: Mapping[str, RowsOfSubject]) -> list[np.ndarray]:
    """The value at each row of each subject; a missing one is that of the row before, or else after."""
    values = []
    for subject, own in subjects.items():
        of_rows = np.empty(len(own.rows))
        for i, index in enumerate(own.rows):
            row = table.rows[index]
            try:
                of_rows[i] = number(name, row.cells[name], decimal_comma=table.decimal_comma)
            except UserError as fault:
                raise UserError(f"{path}, line {row.line}: covariate {fault}") from None
        known = np.flatnonzero(~np.isnan(of_rows))
        if not known.size:
            raise UserError(f"{path}: subject {subject} has no value of the covariate {name}")
        before = np.searchsorted(known, np.arange(len(of_rows)), side="right") - 1
        of_rows = of_rows[known[np.maximum(before, 0)]]
        for i in (np.flatnonzero(np.diff(of_rows)) + 1).tolist():
            if own.times[i] <= own.times[i - 1]:
                raise UserError(
                    f"{path}, line {table.rows[own.rows[i]].line}: covariate {name} must not change while "
                    f"TIME does not increase, got {of_rows[i]:g} after {of_rows[i - 1]:g} ({subject})"
                )
        if np.any(np.diff(of_rows)) and np.any(np.diff(own.times) < 0):
            raise UserError(
                f"{path}: covariate {name} must not change within subject {subject}, whose TIME goes back"
            )
        values.append(of_rows)
    return values


def _varying(
    subjects: list[RowsOfSubject], changing: dict[str, list[np.ndarray]], between_rows: BetweenRows
) -> Varying:
    backward = between_rows == "NOCB"
    firsts = []  # by subject: the first row of each epoch
    for i in range(len(subjects)):
        rows = np.stack([values[i] for values in changing.values()])
        firsts.append(np.concatenate([[0], np.flatnonzero(np.diff(rows, axis=1).any(axis=0)) + 1]))
    width = max(map(len, firsts))
    change = np.full((len(subjects), width - 1), np.inf)
    value = {name: np.empty((len(subjects), width)) for name in changing}
    for i, (own, first) in enumerate(zip(subjects, firsts, strict=True)):
        times = np.array(own.times)
        change[i, : len(first) - 1] = times[first[1:] - 1] if backward else times[first[1:]]
        for name, values in changing.items():
            value[name][i, : len(first)] = values[i][first]
            value[name][i, len(first) :] = values[i][first[-1]]
    return Varying(change, value, backward)
