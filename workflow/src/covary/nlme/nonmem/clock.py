"""Elapsed hours from the columns TIME and DATE, as NM-TRAN counts them."""

import datetime
import logging
import re
from pathlib import Path

from covary.errors import UserError
from covary.nlme.nonmem.text import Faults, Table, number

log = logging.getLogger(__name__)

_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d*)?))?")
_ISO = re.compile(r"(\d{4}-\d{2}-\d{2})[T ](.+)")
_DATE = re.compile(r"\d+[-/]\d+([-/]\d+)?|\d+\.\d+\.\d+")
# What the numbers of a date are, by the name of the column, as NM-TRAN has it.
_ORDERS = {"DATE": "mdy", "DAT1": "dmy", "DAT2": "ymd", "DAT3": "ydm"}
DATE_COLUMNS = tuple(_ORDERS)
_NO_YEAR = 2001  # of a date without a year


def elapsed_hours(path: Path, table: Table, subjects: list[str]) -> list[float]:
    """The time of each row in hours.

    Numbers in TIME are taken as they are. Time counts from the first row of the subject if there are clock
    times (`8:30`, or `2024-03-01 8:30`), or a column DATE, DAT1, DAT2 or DAT3, which gives the day:
    month/day/year, day/month/year, year/month/day or year/day/month. The year may be missing, and a single
    number counts days. TIME is then the hour of the day, with or without a colon.

    Raises UserError that names the lines that are not a time. A table whose TIME goes beyond 24 while its
    dates change is refused: both would count the days.
    """
    column = next((name for name in _ORDERS if name in table.columns), None)
    relative = column is not None or any(":" in row.cells["TIME"] for row in table.rows)
    if column is not None:
        orders = dict.fromkeys(_order(column, row.cells[column]) for row in table.rows)
        if said := " and ".join(_in_words(order) for order in orders if order):
            log.warning("%s: %s is read as %s, and TIME as the hour of that day", path, column, said)
    faults = Faults(path)
    first: dict[str, tuple[float, float]] = {}
    hours = []
    for row, subject in zip(table.rows, subjects, strict=True):
        hour, day = float("nan"), 0.0
        try:
            hour = _hour(row.cells["TIME"], table.decimal_comma)
            if column is not None:
                day = _day(column, row.cells[column], table.decimal_comma)
            if hour != hour:
                raise UserError("TIME must be a number, got a missing value")
            if hour > 24 and day != first.get(subject, (0.0, day))[1]:
                raise UserError(
                    f"TIME must be an hour of the day where {column} gives the day, got {hour:g}; if TIME "
                    f"counts from the first dose, rename {column}"
                )
        except UserError as fault:
            faults.add(row.line, fault)
        hour += 24 * day
        start, _ = first.setdefault(subject, (hour, day))
        hours.append(hour - start if relative else hour)
    faults.raise_any()
    return hours


_WORDS = {"d": "day", "m": "month", "y": "year"}


def _order(column: str, text: str) -> str:
    """What the numbers of a date are; empty if the text is not a date of two or three numbers."""
    if _DATE.fullmatch(text) is None:
        return ""
    parts = _parts(text)
    if len(parts) == 2:
        return _ORDERS[column].replace("y", "")
    return "ymd" if len(parts[0]) == 4 and column != "DAT3" else _ORDERS[column]


def _parts(text: str) -> list[str]:
    return re.split("[-/.]", text)


def _in_words(order: str) -> str:
    return "/".join(_WORDS[letter] for letter in order)


def _hour(text: str, decimal_comma: bool) -> float:
    if iso := _ISO.fullmatch(text):
        return 24 * _day("DATE", iso[1], decimal_comma) + _hour(iso[2], decimal_comma)
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = int(clock[1]), int(clock[2]), float(clock[3] or 0)
        if hours > 24 or minutes > 59 or seconds >= 60:
            raise UserError(f"TIME must be a time of day, got {text!r}")
        return hours + minutes / 60 + seconds / 3600
    return number("TIME", text, decimal_comma=decimal_comma)


def _day(column: str, text: str, decimal_comma: bool) -> float:
    """A number that counts days."""
    order = _order(column, text)
    if not order:
        try:
            day = number(column, text, decimal_comma=decimal_comma)
        except UserError:
            wanted = _in_words(_ORDERS[column])
            raise UserError(f"{column} must be a date as {wanted}, or a day, got {text!r}") from None
        if day != day:
            raise UserError(f"{column} must be a date, got a missing value")
        return day
    by_letter = dict(zip(order, map(int, _parts(text)), strict=True))
    year = by_letter.get("y", _NO_YEAR)
    year += 0 if year > 99 else 1900 if year > 50 else 2000
    try:
        return float(datetime.date(year, by_letter["m"], by_letter["d"]).toordinal())
    except ValueError:
        raise UserError(f"{column} must be a date as {_in_words(order)}, got {text!r}") from None
