"""The part of the report about posteriors of a network: can they be trusted?"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import norm

from covary.config.experiment import Config
from covary.evaluate.coverage import ALL, BLIND, JOINT, LAPLACE, LEVELS, NETWORK, WEIGHTED
from covary.report.answers import Answer
from covary.report.comparisons import compared
from covary.wording import joined, noise_label, percent

TABLE = "posterior_checks"
FIGURES = ("posterior_ranks", "posterior_coverage")
TABLES = (TABLE,)
CAPTIONED = (*FIGURES, *TABLES)
_SIGNIFICANCE = 0.01
_TOLERANCE = 0.02  # of coverage
_NAMES = {
    WEIGHTED: "the weighted draws",
    LAPLACE: "a normal distribution around the mode (Laplace)",
    NETWORK: "the network alone",
}


def has_posterior_checks(config: Config) -> bool:
    """Whether a run has posteriors of a network."""
    return config.posterior.source == "amortised"


def sentences(tables: Mapping[str, pd.DataFrame]) -> list[Answer]:
    """What the checks found: calibration, coverage, sharpness, statuses, and whether the control failed."""
    table = tables[TABLE]
    n = int(table["subjects"].max())
    return [
        Answer(
            "Predictors learn from draws of random effects given a record. A network that was trained on "
            "simulated records of this study proposes them, and the known likelihood weights them. Both were "
            f"tested on {n:,} simulated records per noise level, whose random effects are known.",
            False,
        ),
        _ranks(table),
        _coverage(table),
        *(Answer(_sharper(table, source), False) for source in (LAPLACE, NETWORK)),
        _statuses(table),
        _control(table),
    ]


def concerns(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Checks that failed."""
    return [answer.text for answer in sentences(tables) if answer.poor]


def rejected(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """The rows of a source whose ranks are not uniform, at 1 % for all of its tests together."""
    rows = table[table["source"] == source]
    return rows[rows["p"] < _SIGNIFICANCE / len(rows)]


def _ranks(table: pd.DataFrame) -> Answer:
    rows, bad = table[table["source"] == WEIGHTED], rejected(table, WEIGHTED)
    limit = f"{_SIGNIFICANCE / len(rows):.1g}"
    if len(bad):
        where = joined([_place(row) for row in bad.itertuples()])
        return Answer(
            "The ranks of the true random effects among the weighted draws are not uniform for "
            f"{where} (p < {limit} in {len(bad)} of {len(rows)} tests). These draws do not have the right "
            "distribution.",
            True,
        )
    others = [f"in {len(rejected(table, source))} for {_NAMES[source]}" for source in (LAPLACE, NETWORK)]
    return Answer(
        "If draws are right, the rank of the true random effect among them is uniform. None of "
        f"{len(rows)} tests rejects this for the weighted draws (least p {rows['p'].min():.2g}; {limit} "
        f"would be needed, by noise level, share of missing visits and random effect); they reject it "
        f"{joined(others)}.",
        False,
    )


def _coverage(table: pd.DataFrame) -> Answer:
    off = {source: _largest_error(table, source) for source in (WEIGHTED, LAPLACE, NETWORK)}
    nominal = joined([f"{100 * level:.0f}" for level in LEVELS])
    others = joined([f"{100 * abs(off[s][0]):.1f} points for {_NAMES[s]}" for s in (LAPLACE, NETWORK)])
    error, place = off[WEIGHTED]
    chance = _by_chance(table)
    poor = abs(error) > max(_TOLERANCE, chance)
    text = (
        f"No interval of {nominal}\u00a0% of the weighted draws is shown to hold the truth more or less "
        f"often than it promises. The largest error is {100 * abs(error):.1f} points ({others}); with so "
        f"many records, chance alone explains up to {100 * chance:.1f} points."
    )
    if chance < abs(error) <= _TOLERANCE:
        text = (
            f"Intervals of {nominal}\u00a0% of the weighted draws hold the truth nearly as often as they "
            f"promise. The largest error is {100 * abs(error):.1f} points ({others}). Chance explains only "
            f"{100 * chance:.1f} points, but the error is within the {100 * _TOLERANCE:.0f} that count here."
        )
    if poor:
        text = (
            f"Intervals of the weighted draws hold the truth {100 * abs(error):.1f} points "
            f"{'less' if error < 0 else 'more'} often than they promise, {place}; "
            f"chance explains up to {100 * chance:.1f} points."
        )
    return Answer(text, poor)


def _by_chance(table: pd.DataFrame) -> float:
    """The largest error of a coverage that chance explains at 1 % for all intervals of a source together."""
    rows = table[(table["source"] == WEIGHTED) & (table["missing"] == ALL) & (table["parameter"] != JOINT)]
    level = min(LEVELS, key=lambda nominal: abs(nominal - 0.5))
    quantile = norm.ppf(1 - _SIGNIFICANCE / (2 * len(rows) * len(LEVELS)))
    return float(quantile * np.sqrt(level * (1 - level) / rows["subjects"].min()))


def _largest_error(table: pd.DataFrame, source: str) -> tuple[float, str]:
    """The largest error of the coverage over all subjects, and where it is."""
    rows = table[(table["source"] == source) & (table["missing"] == ALL) & (table["parameter"] != JOINT)]
    errors = np.stack([rows[f"coverage_{100 * level:.0f}"] - level for level in LEVELS])
    level, row = np.unravel_index(np.argmax(np.abs(errors)), errors.shape)
    place = f"for {100 * LEVELS[level]:.0f}\u00a0% intervals of {_place(rows.iloc[row])}"
    return float(errors[level, row]), place


def _place(row) -> str:
    missing = "" if row.missing == ALL else f", missing visits {row.missing}"
    parameter = "all random effects together" if row.parameter == JOINT else row.parameter
    return f"{parameter} at {noise_label(row.noise_variance)}{missing}"


def _sharper(table: pd.DataFrame, source: str) -> str:
    """Whether the weighted draws give the truth a higher density."""
    rows = table[(table["source"] == source) & (table["missing"] == ALL) & (table["parameter"] == JOINT)]
    rows = rows.rename(columns={"excess": "difference", "excess_low": "low", "excess_high": "high"})
    sentence = compared(
        _NAMES[WEIGHTED], _NAMES[source], rows, relation="give the truth a higher density than",
        measure="log density higher",
    )  # fmt: skip
    return sentence[0].upper() + sentence[1:] + "."


def _statuses(table: pd.DataFrame) -> Answer:
    rows = table[(table["source"] == WEIGHTED) & (table["parameter"] == JOINT) & (table["missing"] == ALL)]
    mean = rows.mean(numeric_only=True)
    text = (
        f"The draws of the network served {percent(mean['status_network'], 1)} of the subjects, with a mean "
        f"effective sample size of {percent(mean['effective_sample_size'], 0)} of the draws. The engine’s "
        f"own sampler served {percent(mean['status_engine'], 1)}, and short Markov chains "
        f"{percent(mean['status_chain'], 1)}."
    )
    if mean["status_none"] > 0:
        text += f" {percent(mean['status_none'], 1)} have no draws."
    return Answer(text, bool(mean["status_none"] > 0))


def _control(table: pd.DataFrame) -> Answer:
    tests, bad = int((table["source"] == BLIND).sum()), rejected(table, BLIND)
    if bad.empty:
        return Answer(
            "The control did not fail: a network that does not know which visits are missing passed the same "
            "tests. These could not have found such an error in this run.",
            True,
        )
    return Answer(
        "The control failed, as it must: for a network that does not know which visits are missing, "
        f"{len(bad)} of {tests} tests reject uniform ranks (least p {max(bad['p'].min(), 1e-99):.1g}).",
        False,
    )
