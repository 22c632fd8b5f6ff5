"""Which rows of a table count: NONMEM's IGNORE and ACCEPT."""

import re
from collections.abc import Callable, Sequence

from covary.errors import UserError
from covary.nlme.nonmem.text import Table, number

_OPERATORS: dict[str, Callable] = {
    "EQ": lambda a, b: a == b,
    "NE": lambda a, b: a != b,
    "GT": lambda a, b: a > b,
    "GE": lambda a, b: a >= b,
    "LT": lambda a, b: a < b,
    "LE": lambda a, b: a <= b,
}
_SYMBOLS = {"==": "EQ", "/=": "NE", "!=": "NE", ">=": "GE", "<=": "LE", "=": "EQ", ">": "GT", "<": "LT"}
_CONDITION = re.compile(
    r"\s*(?P<column>\w+)\s*(?:\.(?P<word>EQN?|NEN?|GT|GE|LT|LE)\.|(?P<symbol>==|/=|!=|>=|<=|=|>|<))"
    r"\s*(?P<value>[^,<>=]+?)\s*",
    re.IGNORECASE,
)


def leading_characters(ignore: str | Sequence[str]) -> tuple[str, list[str]]:
    """The single characters among the conditions of IGNORE, which leave out rows that begin with them
    (`@`, `C`, `#`), and the other conditions."""
    parts = [ignore] if isinstance(ignore, str) else list(ignore)
    characters = [part for part in parts if len(part.strip()) == 1 and not part.strip().isdigit()]
    return "".join(part.strip() for part in characters), [part for part in parts if part not in characters]


def select(table: Table, ignore: str | Sequence[str], accept: str | Sequence[str]) -> Table:
    """The rows of a table for which no condition of `ignore` and, if there are any, one of `accept` holds.

    A condition is written as in NONMEM, `DV.EQ.0` or `WT>80`; several are separated by commas. Numbers are
    compared as numbers, other text only for equality.

    Raises UserError if a condition cannot be read or names no column, or if both kinds are given.
    """
    unwanted, wanted = _conditions("ignore", ignore, table), _conditions("accept", accept, table)
    if unwanted and wanted:
        raise UserError("give ignore or accept, not both")
    if not unwanted and not wanted:
        return table
    rows = [
        row
        for row in table.rows
        if not any(c(row.cells) for c in unwanted) and (not wanted or any(c(row.cells) for c in wanted))
    ]
    return table._replace(rows=rows)


def _conditions(argument: str, text: str | Sequence[str], table: Table) -> list[Callable[[dict], bool]]:
    parts = [text] if isinstance(text, str) else text
    conditions = [c for part in parts for c in part.strip().removeprefix("(").removesuffix(")").split(",")]
    return [_condition(argument, condition, table) for condition in conditions if condition.strip()]


def _condition(argument: str, text: str, table: Table) -> Callable[[dict], bool]:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise UserError(f"{argument}: a condition must look like `DV.EQ.0` or `WT>80`, got {text.strip()!r}")
    column = match["column"].upper()
    if column not in table.columns:
        raise UserError(f"{argument}: there is no column {column} in {', '.join(table.columns)}")
    operator = (match["word"].upper()[:2]) if match["word"] else _SYMBOLS[match["symbol"]]
    value = match["value"].strip("'\"")

    def as_number(cell):
        try:
            return number(column, cell, decimal_comma=table.decimal_comma)
        except UserError:
            return None

    goal = as_number(value)
    if goal is None and operator not in ("EQ", "NE"):
        raise UserError(f"{argument}: {column} can be compared with a number only, got {value!r}")

    def holds(cells: dict[str, str]) -> bool:
        cell = as_number(cells[column])
        if goal is None or cell is None:
            return operator in ("EQ", "NE") and _OPERATORS[operator](cells[column], value)
        return _OPERATORS[operator](cell, goal)

    return holds
