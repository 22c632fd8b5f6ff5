"""Elapsed hours from the columns TIME and DATE."""

import datetime
import logging
import re
from pathlib import Path

from covary.errors import UserError
from covary.nlme.nonmem.text import Faults, Table, number

log = logging.getLogger(__name__)

_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d*)?))?")
_ISO = re.compile(r"(\d{4}-\d{2}-\d{2})[T ](.+)")
_DATE_PARTS = re.compile(r"(\d+)[-/.](\d+)[-/.](\d+)")
# What the three numbers of a date are, by the name of the column, as NONMEM has it.
_ORDERS = {"DATE": "mdy", "DATE1": "dmy", "DATE2": "ymd", "DATE3": "ydm"}


def elapsed_hours(path: Path, table: Table, subjects: list[str]) -> list[float]:
    """The time of each row in hours.

    If all of TIME are numbers they are taken as they are, and dates do not count. If there are clock times
    (`8:30`, or `2024-03-01 8:30`), time counts from the first row of the subject; a column DATE, DATE1, DATE2
    or DATE3 then gives the day: month/day/year, day/month/year, year/month/day or year/day/month.

    Raises UserError that names the lines that are not a time.
    """
    clock = any(":" in row.cells["TIME"] for row in table.rows)
    column = next((name for name in _ORDERS if name in table.columns), None) if clock else None
    if column is not None:
        orders = dict.fromkeys(_order(column, row.cells[column]) for row in table.rows)
        if said := " and ".join(_in_words(order) for order in orders if order):
            log.info("%s: %s is read as %s", path, column, said)
    faults = Faults(path)
    first: dict[str, float] = {}
    hours = []
    for row, subject in zip(table.rows, subjects, strict=True):
        try:
            hour = _hour(row.cells["TIME"], table.decimal_comma)
            if column is not None:
                hour += 24 * _day(column, row.cells[column], table.decimal_comma)
            if hour != hour:
                raise UserError("TIME must be a number, got a missing value")
        except UserError as fault:
            faults.add(row.line, fault)
            hour = float("nan")
        hours.append(hour - first.setdefault(subject, hour) if clock else hour)
    faults.raise_any()
    return hours


_WORDS = {"d": "day", "m": "month", "y": "year"}


def _order(column: str, text: str) -> str:
    """What the three numbers of a date are; empty if the text is not three numbers."""
    parts = _DATE_PARTS.fullmatch(text)
    if parts is None:
        return ""
    return "ymd" if len(parts[1]) == 4 and column in ("DATE", "DATE2") else _ORDERS[column]


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
    parts = _DATE_PARTS.fullmatch(text)
    if parts is None:
        day = number(column, text, decimal_comma=decimal_comma)
        if day != day:
            raise UserError(f"{column} must be a date where TIME is a time of day, got a missing value")
        return day
    order = _order(column, text)
    by_letter = dict(zip(order, map(int, parts.groups()), strict=True))
    year = by_letter["y"] + (0 if by_letter["y"] > 99 else 1900 if by_letter["y"] > 50 else 2000)
    try:
        return float(datetime.date(year, by_letter["m"], by_letter["d"]).toordinal())
    except ValueError:
        raise UserError(f"{column} must be a date as {_in_words(order)}, got {text!r}") from None
