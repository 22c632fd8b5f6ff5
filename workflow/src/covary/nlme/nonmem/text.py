"""From a file to named cells: encodings, separators, comments and headers of NONMEM tables."""

import csv
import logging
import re
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from covary.errors import UserError

log = logging.getLogger(__name__)

_MISSING = ("", ".", "NA", "NAN")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([ED][+-]?\d+)?", re.IGNORECASE)
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_TABLE_LINE = re.compile(r"TABLE NO\.", re.IGNORECASE)
_MOST_COMPLAINTS = 10
_MOST_DIGITS = 30  # of an ID that is compared as a number


class Row(NamedTuple):
    """One line of the file, its cells by column."""

    line: int
    cells: dict[str, str]


class Table(NamedTuple):
    """The columns of a table, in upper case, and its rows."""

    columns: tuple[str, ...]
    rows: list[Row]
    decimal_comma: bool


class Faults:
    """What is wrong with a file, line by line; at most ten lines are said."""

    def __init__(self, path: Path):
        self._path = path
        self._said: list[str] = []

    def add(self, line: int, fault: Exception | str) -> None:
        """Note a fault of one line of the file."""
        self._said.append(f"{self._path}, line {line}: {fault}")

    def raise_any(self) -> None:
        """Raise UserError if there are faults."""
        if not self._said:
            return
        said = self._said
        if len(said) > _MOST_COMPLAINTS:
            said = [*said[: _MOST_COMPLAINTS - 1], f"… and {len(said) - _MOST_COMPLAINTS + 1} more lines"]
        raise UserError("\n".join(said))


def read_table(path: Path, ignored: str = "") -> Table:
    """The cells of a table without the rows that begin with one of the characters `ignored`.

    `@` among them stands for any letter, too, as in NONMEM's IGNORE=@.

    Columns are separated by tabs, semicolons (then with decimal commas), commas or blanks, whichever the
    header shows. Lines that start with `#` or `@` are comments, unless they are the header. So are rows with
    a C in a first column of that name, or rows that start with C under a header that does. A header of
    NONMEM's own tables may be repeated.

    Raises UserError if there is no header, columns have the same name, or a line has too few or too many
    cells.
    """
    lines = [(n, text) for n, text in enumerate(_decode(path).splitlines(), start=1) if text.strip()]
    head = next((i for i, (_, text) in enumerate(lines) if _is_header(text)), None)
    if head is None:
        raise UserError(
            f"{path}: must have a header, got {'an empty file' if not lines else 'comments only'}"
        )
    separator = _separator(lines[head][1])
    header = _cells(lines[head][1], separator)
    columns, marker = _column_names(header)
    _check_columns(path, columns)
    faults = Faults(path)
    rows = []
    for line, text in lines[head + 1 :]:
        if text.lstrip().startswith(("#", "@")):
            continue
        if _TABLE_LINE.match(text.strip()):
            faults.add(line, "a second table begins here; give one table per file")
            break
        try:
            cells = _cells(text, separator)
        except csv.Error:
            faults.add(line, "a quoted cell does not end on its line")
            continue
        if cells == header or not any(cells):
            continue
        if marker is not None and cells[0].upper().startswith("C"):
            continue
        if text.lstrip()[0] in ignored or ("@" in ignored and text.lstrip()[0].isalpha()):
            continue
        surplus = cells[len(columns) :]
        if len(cells) < len(columns) or any(surplus):
            faults.add(line, f"must have {len(columns)} fields, got {len(cells)}")
            continue
        rows.append(Row(line, {name: c for name, c in zip(columns, cells, strict=False) if name}))
    faults.raise_any()
    return Table(tuple(name for name in columns if name), rows, separator != ",")


def number(name: str, text: str, *, decimal_comma: bool = False) -> float:
    """A cell as a number, NaN for a missing value.

    Raises UserError that names the column if the text is something else.
    """
    if text.upper() in _MISSING:
        return float("nan")
    plain = _with_point(text, decimal_comma)
    if _NUMBER.fullmatch(plain):
        value = float(plain.upper().replace("D", "E"))
        if value in (float("inf"), float("-inf")):
            raise UserError(f"{name} must be finite, got {text}")
        return value
    if _INFINITE.fullmatch(text):
        raise UserError(f"{name} must be finite, got {text}")
    raise UserError(f"{name} must be a number or `.`, got {text!r}")


def identifier(text: str, *, decimal_comma: bool = False) -> str:
    """The ID of a subject: `1`, `1.0` and `1.0000E+00` are one; other text is an ID as it stands."""
    plain = _with_point(text, decimal_comma)
    if not _NUMBER.fullmatch(plain):
        return text
    value = Decimal(plain.upper().replace("D", "E"))
    if abs(value.adjusted()) > _MOST_DIGITS:
        return text
    digits = f"{value:f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _with_point(text: str, decimal_comma: bool) -> str:
    return text.replace(",", ".") if decimal_comma and "." not in text else text


def _decode(path: Path) -> str:
    raw = path.read_bytes()
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16")
    if b"\0" in raw:
        line = raw[: raw.index(b"\0")].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: must be text, got a zero byte")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = raw[: fault.start].count(b"\n") + 1
        log.warning("%s: read as Latin-1, since line %d is not UTF-8", path, line)
        return raw.decode("latin-1")


def _is_header(text: str) -> bool:
    """Whether a line can be the header: not a title of NONMEM, and no comment without a column ID."""
    if _TABLE_LINE.match(text.strip()):
        return False
    if not text.lstrip().startswith(("#", "@")):
        return True
    return "ID" in _column_names(_cells(text, _separator(text)))[0]


def _separator(header: str) -> str | None:
    return next((separator for separator in "\t;," if separator in header), None)


def _cells(text: str, separator: str | None) -> list[str]:
    if separator is None:
        (cells,) = csv.reader([" ".join(text.split())], delimiter=" ", strict=True)
    else:
        (cells,) = csv.reader([text.strip(" ")], delimiter=separator, strict=True, skipinitialspace=True)
    return [cell.strip() for cell in cells]


def _column_names(header: list[str]) -> tuple[list[str], str | None]:
    """Names in upper case without the mark of a comment, and the letter that marks rows as comments."""
    names = [name.upper() for name in header]
    while names and not names[-1]:
        names.pop()
    if not names:
        return names, None
    if names[0] in ("#", "@", "C"):
        return (["", *names[1:]] if len(names) > 1 else names), names[0]
    if names[0][0] in "#@":
        return [names[0][1:].strip(), *names[1:]], None
    if names[0] == "CID" and "ID" not in names:
        return ["ID", *names[1:]], "C"
    return names, None


def _check_columns(path: Path, columns: list[str]) -> None:
    named = [name for name in columns if name]
    if repeated := sorted({name for name in named if named.count(name) > 1}):
        raise UserError(f"{path}: column names must differ, got {', '.join(repeated)} more than once")
