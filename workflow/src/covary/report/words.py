"""Small change of English."""

import pandas as pd


def joined(parts: list[str]) -> str:
    """One, two and three."""
    return (", ".join(parts[:-1]) + " and " if len(parts) > 1 else "") + parts[-1]


def levels(rows: pd.DataFrame) -> str:
    """The noise levels of a table's rows."""
    return "σ²\u00a0=\u00a0" + joined([f"{v:g}" for v in rows["noise_variance"]])
