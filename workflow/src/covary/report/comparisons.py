"""Comparisons in words: one thing is better than another only where the paired 95 % interval excludes 0."""

import numpy as np
import pandas as pd

from covary.wording import joined, levels

NOTHING = "nothing that can be told from chance"  # what images carry where the interval reaches 0


def direction(low: pd.Series | float, high: pd.Series | float) -> np.ndarray:
    """1 where the interval of a difference lies above 0, -1 where it lies below, 0 where it holds 0."""
    return np.where(low > 0, 1, np.where(high < 0, -1, 0))


def carries(rows: pd.DataFrame, ceiling: pd.DataFrame) -> pd.Series:
    """Whether the images were measured to carry something at the noise level of each row.

    `ceiling` is the table of `evaluate.measured_ceiling`. Where its interval reaches 0 or below, a good
    result says nothing of the images, and no sentence may praise it.
    """
    return rows["noise_variance"].isin(ceiling.loc[ceiling["low"] > 0, "noise_variance"])


def compared(
    one: str, two: str, rows: pd.DataFrame, *, relation: str, measure: str | None = None, digits: int = 3
) -> str:
    """One sentence without its full stop: at which noise levels `one` is better than `two`, or the reverse.

    `rows` has the columns noise_variance, difference, low and high; a positive difference speaks for `one`.
    The sentence reads "<one> <relation> <two> at σ² = 1 (<measure> by 0.15)"; without a measure, it has no
    numbers.
    """
    which = direction(rows["low"], rows["high"])
    parts = []
    for first, second, sign in ((one, two, 1), (two, one, -1)):
        where = rows[which == sign]
        if len(where):
            text = f"{first} {relation} {second} at {levels(where)}"
            if measure is not None:
                text += f" ({measure} by {joined([f'{abs(d):.{digits}f}' for d in where['difference']])})"
            parts.append(text)
    if (which == 0).any():
        pair = "they" if parts else f"{one} and {two}"
        parts.append(f"{pair} cannot be told apart at {levels(rows[which == 0])}")
    return "; ".join(parts)
