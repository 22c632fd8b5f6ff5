"""Sentences about the ledger, comparisons, calibration, power and privacy, computed from the tables."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from covary.wording import joined, levels, noise_label, percent

_POOLED = "all"
_COVERAGE = 0.95
_CALIBRATED = (0.93, 0.97)


class Answer(NamedTuple):
    """A text, and whether it reports a problem."""

    text: str
    poor: bool


def pooled(table: pd.DataFrame) -> pd.DataFrame:
    """The rows over all random effects."""
    return table[table["random_effect"] == _POOLED]


def ledger_in_words(ledger: pd.DataFrame) -> str:
    """The association ledger in two sentences."""
    shares = pooled(ledger).pivot_table(
        index=["predictor", "noise_variance"], columns="part", values="share", sort=False
    )
    best = shares.groupby("predictor", sort=False)["reached"].mean().idxmax()
    row = shares.loc[best].iloc[0]
    noise_variance = shares.loc[best].index[0]
    found = f"about {_parts(row['reached'])}" if row["reached"] > 0.005 else "none"
    return (
        "What an image could have told of a patient’s record can be lost in three places, one after the "
        "other: the generated image does not show all that it was meant to show, what drives a record is not "
        "known but must be estimated from noisy observations, and a network learns only part of what it is "
        "shown. "
        f"Of 100 parts that could be found at {noise_label(noise_variance)}, {best} found "
        f"{found}; {_parts(row['lost_in_image'])} were not to be seen in the images, "
        f"{_parts(row['lost_in_estimator'])} went in the estimation from records, and "
        f"{_parts(row['lost_in_predictor'])} the network did not learn."
    )


def comparison_in_words(comparison: pd.DataFrame) -> list[str]:
    """Which of two predictors finds more, and at which noise levels; one sentence per pair."""
    sentences = []
    for (one, two), rows in pooled(comparison).groupby(["predictor_1", "predictor_2"], sort=False):
        better, worse = rows[rows["low"] > 0], rows[rows["high"] < 0]
        unclear = rows[(rows["low"] <= 0) & (rows["high"] >= 0)]
        parts = [
            f"{first} finds more than {second} at {levels(where)} (R² higher by "
            f"{joined([f'{abs(d):.3f}' for d in where['difference']])})"
            for first, second, where in ((two, one, better), (one, two, worse))
            if len(where)
        ]
        if len(unclear):
            pair = "they" if parts else f"{one} and {two}"
            parts.append(f"{pair} cannot be told apart at {levels(unclear)}")
        sentences.append("; ".join(parts) + ".")
    return sentences


def calibration_in_words(calibration: pd.DataFrame) -> list[str]:
    """Coverage of the 95 % intervals of the random effects, one sentence per predictor."""
    rows = pooled(calibration)
    rows = rows[np.isclose(rows["level"], _COVERAGE)]
    return [
        f"95\u00a0% predictive intervals of {name} hold {percent(part['coverage'].min(), 1)} to "
        f"{percent(part['coverage'].max(), 1)} of η̂, depending on the noise level."
        for name, part in rows.groupby("predictor", sort=False)
    ]


def calibration_concerns(calibration: pd.DataFrame) -> list[str]:
    """Where the coverage of 95 % intervals is clearly below 93 % or above 97 %."""
    rows = pooled(calibration)
    rows = rows[np.isclose(rows["level"], _COVERAGE)]
    low, high = _CALIBRATED
    return [
        f"At {noise_label(row.noise_variance)}, the 95\u00a0% intervals of {row.predictor} are too "
        f"{'narrow' if row.high < low else 'wide'}: they hold {percent(row.coverage, 1)} of η̂."
        for row in rows.itertuples()
        if row.high < low or row.low > high
    ]


def power_in_words(power: pd.DataFrame, smallest: float) -> list[str]:
    """How many subjects a study needs, one sentence per predictor; `smallest` is the least training size."""
    sentences = []
    for name, rows in power.groupby("predictor", sort=False):
        needed = rows.assign(needed=[subjects(n, smallest) for n in rows["from_scratch"]])
        never = needed[~np.isfinite(needed["from_scratch"])]
        parts = [
            f"{number} at {levels(same)}"
            for number, same in needed.drop(never.index).groupby("needed", sort=False)
        ]
        text = f"A study that trains {name} on its own subjects detects the association with 80\u00a0% power "
        text += f"with {joined(parts)} subjects" if parts else "with no number of subjects at any noise level"
        if parts and len(never):
            text += f"; at {levels(never)} no number of subjects is enough"
        sentences.append(text + ".")
    return sentences


def subjects(count: float, smallest: float = 0.0) -> str:
    """A number of subjects to print. Numbers below the smallest training size are given as `< smallest`."""
    if not np.isfinite(count):
        return "no number"
    return f"<\u00a0{smallest:,.0f}" if count < smallest else f"{count:,.0f}"


def privacy_verdict(privacy: pd.DataFrame) -> Answer:
    """Whether anything seems to be copied from the training images."""
    measure = {name: rows.set_index("space") for name, rows in privacy.groupby("measure")}
    member, closer, near = (measure[m] for m in ("membership_auc", "closer_than_held_out", "near_copies"))
    told = member[member["low"] > member["expected"]]
    if len(told):
        aucs = joined([f"{row.value:.2f} by {row.Index}" for row in told.itertuples()])
        return Answer(
            "Yes, to some degree: training images lie closer to the generated images than held-out images "
            f"do, so that membership in the training set can be inferred (area under the curve {aucs}, where "
            "0.50 is chance). Look at the closest pairs, and do not publish images learned from patients "
            "unless this is acceptable.",
            poor=True,
        )
    copies = near[near["low"] > near["expected"]]
    smooth = closer[closer["low"] > closer["expected"]]
    if len(copies) or len(smooth):
        return Answer(
            "No sign that particular images were copied: training images lie no closer to the generated "
            "images than held-out images do. Generated images are, however, closer to training images than "
            "held-out ones are, which is what smoother or more typical images do. Look at the closest pairs.",
            poor=False,
        )
    return Answer(
        "No sign of copying: generated images are no closer to training images than held-out images are, and "
        "membership in the training set cannot be inferred from them.",
        poor=False,
    )


def _parts(share: float) -> str:
    return f"{round(100 * share)}".replace("-", "−")
