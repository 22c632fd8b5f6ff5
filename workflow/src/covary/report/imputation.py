"""The part of the report about missing visits that are filled in."""

import pandas as pd

from covary.config.experiment import Config
from covary.report.comparisons import direction
from covary.wording import joined

FIGURES = ()
TABLES = CAPTIONED = ("imputation",)
_FITTED = {
    "likelihood": "the fit with missing visits left out",
    "last value": "the fit with last values",
    "line": "the fit with lines",
}
_WAYS = {"last value": "the last value before them", "line": "a line between their neighbours"}


def has_imputation(config: Config) -> bool:
    """Whether a run has missing visits."""
    return bool(config.longitudinal.missing)


def imputation_in_words(table: pd.DataFrame) -> str:
    """How far filling in takes parameters from the truth, and what it costs in R² of random effects."""
    left_out, fit = _missed(table, "likelihood"), table.iloc[0]
    parts = [
        f"The population model was fitted by {fit['method'].upper()} to the first {fit['subjects']} training "
        f"patients. With missing visits left out, {_intervals(left_out)}."
    ]
    for way, words in _WAYS.items():
        missed = _missed(table, way)
        row = table.query("records == @way and quantity == 'r2' and name == 'all'").iloc[0]
        change = {1: "falls", 0: "cannot be told from that without filling in", -1: "rises"}[
            int(direction(row.less_low, row.less_high))
        ]
        by = f" by {abs(row.less):.3f}" if change in ("falls", "rises") else ""
        worst = missed.iloc[0]
        parts.append(
            f"Filled in with {words}, {_intervals(missed)}; farthest off is {worst['name']}, "
            f"{worst['ratio']:.2g} times its true value, and R² of random effects {change}{by}."
        )
    if ended := table.loc[~table["converged"], "records"].unique().tolist():
        which = joined([_FITTED[way] for way in ended])
        parts.append(
            f"Not converged: {which}. Take {'their' if len(ended) > 1 else 'its'} numbers with care."
        )
    return " ".join(parts)


def _missed(table: pd.DataFrame, way: str) -> pd.DataFrame:
    """The parameters of one way, those farthest from the truth first."""
    rows = table[(table["records"] == way) & (table["quantity"] == "parameter")]
    rows = rows.assign(ratio=rows["value"] / rows["true"])
    rows["outside"] = (rows["true"] < rows["low"]) | (rows["true"] > rows["high"])
    off = (rows["value"] - rows["true"]).abs() / rows["true"].abs()
    return rows.iloc[off.argsort()[::-1]]


def _intervals(rows: pd.DataFrame) -> str:
    """How many intervals hold the truth. A parameter that the fit does not determine has none."""
    known, outside = int(rows["low"].notna().sum()), rows.loc[rows["outside"], "name"].tolist()
    if not known:
        return f"none of the {len(rows)} parameters has an interval, because the fit does not determine them"
    which = f"all {len(rows)} parameters" if known == len(rows) else f"the {known} parameters that have one"
    if not outside:
        return f"the 95\u00a0% intervals of {which} hold the truth"
    shares = f"{len(outside)} of {len(rows) if known == len(rows) else which}"
    parameters = " parameters" if known == len(rows) else ""
    return f"the 95\u00a0% intervals of {shares}{parameters} miss the truth ({joined(outside)})"
