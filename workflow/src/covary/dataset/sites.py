"""Sites: the scanner, hospital or plate that a subject belongs to."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from covary.errors import UserError


def encode(
    column: Sequence[Any] | np.ndarray, key: str = "site"
) -> tuple[Int64[np.ndarray, " subject"], list]:
    """The site of each subject as a number 0 … C - 1, and the names of the sites in ascending order.

    Raises UserError if a value is missing, texts and numbers are mixed, there is one site only, or there
    are as many sites as subjects or more.
    """
    values = np.asarray(column, dtype=object)
    missing = np.flatnonzero([value is None or value != value or value == "" for value in values])
    if len(missing):
        raise UserError(f"{key}: must have a value for every subject; {len(missing)} of {len(values)} have "
                        f"none, the first is number {missing[0]}")  # fmt: skip
    kinds = {"text" if isinstance(value, str) else "number" for value in values}
    if len(kinds) > 1:
        first = next(
            i for i, value in enumerate(values) if isinstance(value, str) != isinstance(values[0], str)
        )
        raise UserError(f"{key}: must be all text or all numbers; subject 0 has {values[0]!r}, "
                        f"subject {first} has {values[first]!r}")  # fmt: skip
    names = sorted(set(values.tolist()))
    if len(names) < 2:
        raise UserError(f"{key}: must name at least 2 sites, got {len(names)}")
    if len(names) >= len(values):
        raise UserError(
            f"{key}: must have fewer sites than subjects, got {len(names)} sites of {len(values)} subjects"
        )
    number = {name: i for i, name in enumerate(names)}
    return np.array([number[value] for value in values.tolist()]), names
