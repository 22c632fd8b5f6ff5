"""Sentences about pictures, ledger, comparisons, calibration, power and privacy, computed from the tables."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from covary.evaluate.ledger import measured_ceiling
from covary.report.comparisons import NOTHING, carries, compared, direction
from covary.wording import ATTACK, ATTACK_BY_START, joined, levels, noise_label, percent

PART_NAMES = {
    "lost_in_image": "Lost in image",
    "lost_in_estimator": "Lost in estimator",
    "lost_in_predictor": "Lost in predictor",
    "lost_to_site": "Lost to the site",
    "reached": "Found",
}
_LOST = {
    "lost_in_image": "are not shown by the images",
    "lost_in_estimator": "are lost when the traits must be estimated from records",
    "lost_to_site": "are lost to the site",
    "lost_in_predictor": "are lost in the network",
}
LOW_READBACK_R2 = 0.5
_POOLED = "all"
_COVERAGE = 0.95
_CALIBRATED = (0.93, 0.97)
_ALIKE = 0.8  # of the precision and recall of training images
_FAR = 2.5  # times the distance of training images
_AT_BOUND = 1e-6
_MOST_ASTRAY = 0.3  # of readings, in standard deviations, when one random effect moves by 2


class Answer(NamedTuple):
    """A text, and whether it reports a problem."""

    text: str
    poor: bool


def pooled(table: pd.DataFrame) -> pd.DataFrame:
    """The rows over all random effects."""
    return table[table["random_effect"] == _POOLED]


def ledger_in_words(ledger: pd.DataFrame) -> str:
    """The association ledger of the best predictor, stage by stage, at the first noise level.

    It ends where nothing is left that can be told from chance. Each number has its 95 % interval.
    """
    table = pooled(ledger)
    reached = table[table["part"] == "reached"]
    best = reached.groupby("predictor", sort=False)["share"].mean().idxmax()
    first = table["noise_variance"].iloc[0]
    rows = table[(table["predictor"] == best) & (table["noise_variance"] == first)].set_index("part")
    if measured_ceiling(ledger)["low"].iloc[0] <= 0:
        told = f"the images were measured to carry {NOTHING}"
    else:
        lost = [f"{_parts(rows.loc[part])} {where}" for part, where in _LOST.items() if part in rows.index]
        found = _parts(rows.loc["reached"]) if rows.loc["reached", "low"] > 0 else NOTHING
        told = f"{joined(lost)}; {best} found {found} (in brackets 95\u00a0% intervals over test patients)"
    with_site = "lost_to_site" in rows.index
    return (
        f"What an image could tell of a patient’s record can be lost in {'four' if with_site else 'three'} "
        "places, one after the other: the generated image does not show all that it was meant to show, "
        f"{'what it says of the site need not hold for the patient, ' if with_site else ''}"
        "the traits behind a record are not known but must be estimated from noisy observations, and a "
        "network learns only part of what it is shown. Of 100 parts that can be found by design at "
        f"{noise_label(first)}, {told}."
    )


def negative_parts_in_words(ledger: pd.DataFrame) -> list[str]:
    """Whether a negative part of the ledger can be told from 0, one sentence per part, over all effects."""
    sentences = []
    for row in pooled(ledger).itertuples():
        if round(row.share, 3) >= 0:
            continue
        low, high = (percent(end / row.explainable, 1) for end in (row.low, row.high))
        if direction(row.low, row.high) == 0:
            told = "holds 0, so that it cannot be told from 0"
        elif row.part == "reached":
            told = "lies below 0: predictions are farther from the truth than the average patient is"
        else:
            told = "lies below 0: more is explained after this stage than before it"
        sentences.append(
            f"{PART_NAMES[row.part]} by {row.predictor} at {noise_label(row.noise_variance)} is negative, "
            f"{percent(row.share, 1)} (95\u00a0% interval {low} to {high}). "
            f"Its interval {told}."
        )
    return sentences


def comparison_in_words(comparison: pd.DataFrame, ledger: pd.DataFrame) -> list[str]:
    """Which of two predictors finds more, and at which noise levels; one sentence per pair.

    Noise levels at which the images carry nothing, or neither predictor found anything, are not compared:
    there one predictor can only be farther off than the other.
    """
    rows = pooled(comparison)
    carried = carries(rows, measured_ceiling(ledger))
    found = _finds(rows, "predictor_1", ledger) | _finds(rows, "predictor_2", ledger)
    sentences = [
        compared(two, one, pair, relation="has a higher R² than", measure="higher") + "."
        for (one, two), pair in rows[carried & found].groupby(["predictor_1", "predictor_2"], sort=False)
    ]
    for nothing, why in (
        (~carried, f"the images were measured to carry {NOTHING}"),
        (carried & ~found, "neither found anything that can be told from chance"),
    ):
        if nothing.any():
            at = levels(rows[nothing].drop_duplicates("noise_variance"))
            sentences.append(f"At {at} predictors are not compared in words, because {why}.")
    return sentences


def _finds(rows: pd.DataFrame, column: str, ledger: pd.DataFrame) -> pd.Series:
    """Whether the predictor in this column found something at the noise level of each row."""
    reached = pooled(ledger).query("part == 'reached' and low > 0")
    found = pd.MultiIndex.from_frame(reached[["noise_variance", "predictor"]])
    return pd.Series(pd.MultiIndex.from_frame(rows[["noise_variance", column]]).isin(found), rows.index)


def calibration_in_words(calibration: pd.DataFrame) -> list[str]:
    """Coverage of the 95 % intervals of the random effects, one sentence per predictor."""
    rows = pooled(calibration)
    rows = rows[np.isclose(rows["level"], _COVERAGE)]
    sentences = []
    for name, part in rows.groupby("predictor", sort=False):
        least, most = (percent(share, 1) for share in (part["coverage"].min(), part["coverage"].max()))
        how_many = least if least == most else f"{least} to {most}"
        where = "" if len(part) == 1 else ", depending on the noise level"
        sentences.append(f"95\u00a0% predictive intervals of {name} hold {how_many} of η̂{where}.")
    return sentences


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


def power_in_words(power: pd.DataFrame, smallest: float, ceiling: pd.DataFrame) -> list[str]:
    """How many subjects a study needs, one sentence per predictor; `smallest` is the least training size.

    No number is said at noise levels where the images carry nothing (`ceiling`).
    """
    sentences = []
    for name, rows in power.groupby("predictor", sort=False):
        some = carries(rows, ceiling) | ~np.isfinite(rows["from_scratch"])
        said = [
            subjects(row.from_scratch, row.from_scratch_low, smallest) if can else "cannot be said"
            for row, can in zip(rows.itertuples(), some, strict=True)
        ]
        parts = [
            f"{number} at {levels(same)}"
            for number, same in rows.assign(said=said).groupby("said", sort=False)
        ]
        text = (
            f"Subjects that a study which trains {name} on its own data needs to detect the association with "
            f"80\u00a0% power: {'; '.join(parts)}."
        )
        blind = rows[rows["informative_sizes"] < 2]
        rough = rows[(rows["informative_sizes"] >= 2) & ~rows["decides"]]
        if len(blind):
            text += f" At {levels(blind)} something was learned at fewer than two training sizes."
        if len(rough):
            text += (
                f" Numbers at {levels(rough)} are rough: each size was trained on fewer than three times, so "
                "that their intervals do not say how much chance is in a training "
                "(learning_curve_trainings: 3 would)."
            )
        sentences.append(text)
    return sentences


def subjects(count: float, low: float, smallest: float = 0.0) -> str:
    """A number of subjects to print; `low` is the low end of its interval.

    Numbers below the smallest training size are given as `< smallest`. Where no number is enough, the number
    cannot be said, and `low` is all that is known.
    """
    if not np.isfinite(count):
        return f"cannot be said, at least\u00a0{low:,.0f}"
    return f"<\u00a0{smallest:,.0f}" if count < smallest else f"{count:,.0f}"


def subjects_interval(low: float, high: float, smallest: float = 0.0) -> str:
    """The interval of a number of subjects; nothing where it says no more than the number itself."""
    if high < smallest:
        return ""
    low_text = f"<\u00a0{smallest:,.0f}" if low < smallest else f"{low:,.0f}"
    return f"at least {low_text}" if np.isinf(high) else f"[{low_text}, {high:,.0f}]"


def limit_in_words(limit: float, low: float, high: float, bound: float) -> str:
    """R² with endless training data. Where the fit ends at its bound, the bound is not a result."""
    if np.isnan(limit):
        return "cannot be said"
    if high < bound - _AT_BOUND:
        return f"{limit:.3f} [{low:.3f}, {high:.3f}]"
    return f"at least {low:.3f}" if low < bound - _AT_BOUND else "cannot be said: still rising"


def privacy_verdict(privacy: pd.DataFrame) -> Answer:
    """Whether the generator or its images give away what it was trained on, from `privacy.csv`."""
    with_start = (privacy["space"] == ATTACK_BY_START).any()
    used = ATTACK_BY_START if with_start else ATTACK
    attack = privacy[privacy["space"] == used].set_index("measure")
    auc, found = attack.loc["membership_auc"], attack.loc["true_positives"]
    numbers = (
        f"(area under the curve {auc.value:.2f} [{auc.low:.2f}, {auc.high:.2f}], where 0.50 is chance; with "
        f"1\u00a0% of false alarms it picks out {percent(found.value, 1)} [{percent(found.low, 1)}, "
        f"{percent(found.high, 1)}] of them)"
    )
    above = privacy[
        direction(privacy["low"] - privacy["expected"], privacy["high"] - privacy["expected"]) > 0
    ]
    if (above["space"] == used).any():
        who, by = (
            (
                "who has the generator and the network that it started from",
                "how much better it denoises them than that network does",
            )
            if with_start
            else ("who has the generator", "how well it denoises them")
        )
        return Answer(
            f"Yes, to some degree: {who} can tell its training images from held-out ones by {by} {numbers}. "
            "Do not publish a generator that learned from patients unless this is acceptable.",
            poor=True,
        )
    nothing = (
        "compared with the network that it started from, the generator is not shown to denoise its training "
        f"images better than held-out ones {numbers}"
        if with_start
        else f"the generator is not shown to denoise its training images better than held-out ones {numbers}"
    )
    told = above[(above["measure"] == "membership_auc") & ~above["space"].isin((ATTACK, ATTACK_BY_START))]
    if len(told):
        aucs = joined([f"{row.value:.2f} by {row.space}" for row in told.itertuples()])
        return Answer(
            "Yes, to some degree: training images lie closer to the generated images than held-out images "
            f"do (area under the curve {aucs}, where 0.50 is chance), although {nothing}. Look at the "
            "closest pairs, and do not publish images learned from patients unless this is acceptable.",
            poor=True,
        )
    text = f"No sign of it: {nothing}. "
    if above["measure"].isin(["near_copies", "closer_than_held_out"]).any():
        text += (
            "Generated images are, however, closer to training images than held-out ones are, which is what "
            "smoother or more typical images do. "
        )
    return Answer(text + "Numbers do not show everything: look at the closest pairs.", poor=False)


def pictures_verdict(quality: pd.DataFrame, chosen: Sequence[int], phantoms: bool) -> Answer:
    """Whether generated images can stand for those they were learned from, from the table of their quality.

    `chosen` are the latents that are random effects. Distances of training images to test images are the best
    that can be reached.
    """
    what = "drawn phantoms" if phantoms else "test images"
    space = quality.loc[quality["feature_space"].fillna("") != "", "feature_space"].iloc[0]
    in_space = quality[quality["feature_space"] == space]
    measures = in_space.pivot_table(index="of", columns="measure", values="value")
    generated, best = measures.loc["generated"], measures.loc["training images"]
    times = generated["frechet_distance"] / max(best["frechet_distance"], 1e-12)
    shares = ["precision", "recall"]
    read = quality[(quality["measure"] == "readback_r2") & (quality["of"] == "generated")]
    weakest, strongest = read[read["latent"].isin(chosen)]["value"].agg(["min", "max"])
    alike = bool((generated[shares] >= _ALIKE * best[shares]).all() and times <= _FAR)
    lie = [[percent(of[share], 0) for share in shares] for of in (generated, best)]
    # That encoder was trained to be right about large structure, and hardly sees what is finer.
    by_encoder = space == "vae_encoder"
    start = "To the image VAE’s encoder, which sees mostly large structure, the" if by_encoder else "The"
    verdict = "are much like" if alike else "can be told from"
    text = (
        f"{start} generated images {verdict} the {what}: {lie[0][0]} of "
        f"them lie among the {what}, and {lie[0][1]} of the {what} among them (training images: "
        f"{lie[1][0]} and {lie[1][1]}). Their distance (Fréchet) to the {what} is {times:.1f} times that of "
        "training images. "
    )
    if weakest >= LOW_READBACK_R2:
        text += f"Every random effect can be read back from them (R² of {weakest:.2f} or more)."
    elif strongest >= LOW_READBACK_R2:
        text += f"Not every random effect can be read back from them (R² as low as {weakest:.2f})."
    else:
        text += f"The random effects can hardly be read back from them (R² of at most {strongest:.2f})."
    return Answer(text.replace("-", "−"), poor=bool(not alike or weakest < LOW_READBACK_R2))


def minimality(counterfactuals: pd.DataFrame) -> Answer:
    """Whether a random effect changes its own reading and nothing else, from `counterfactuals.csv`."""
    same = counterfactuals["moved"] == counterfactuals["read"]
    own, other = counterfactuals[same], counterfactuals[~same]
    by, least, most = own["by"].iloc[0], own["shift"].min(), own["shift"].max()
    text = (
        f"If one random effect moves by {by:g} standard deviations, what is read of it in the image moves "
        f"by {least:.2f} to {most:.2f}"
    )
    poor = bool((own["shift"] - own["by"]).abs().max() > _MOST_ASTRAY)
    if len(other):
        worst = other.loc[other["shift"].abs().idxmax()]
        poor = poor or bool(abs(worst["shift"]) > _MOST_ASTRAY)
        text += (
            f", and what is read of another by at most {abs(worst['shift']):.2f} ({worst['read']}, when "
            f"{worst['moved']} moves)"
        )
    if poor:
        text += ". The images do not show the random effects one by one as they should"
    return Answer(f"{text}.", poor)


def _parts(row: pd.Series) -> str:
    """A part of the ledger out of 100 that can be found by design, with its interval."""
    value, low, high = (
        f"{100 * end / row['explainable']:.1f}".replace("-", "−") for end in row[["value", "low", "high"]]
    )
    return f"{value} [{low}, {high}]"
