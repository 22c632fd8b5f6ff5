"""The results in words. Every sentence is computed, and poor results are called poor."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from covary import nlme
from covary.config.experiment import Config
from covary.evaluate.ledger import measured_ceiling
from covary.images.channels import are_stains
from covary.records.truth import true_parameters
from covary.report.answers import LOW_READBACK_R2, calibration_concerns, pooled, privacy_verdict
from covary.report.comparisons import NOTHING, compared, direction
from covary.report.fits import concerns_of_fits
from covary.report.preparation import concerns_of_preparation
from covary.wording import image_in_words, joined, levels, noise_label, percent

_NLL_TOLERANCE = 1.0
_UNITS_OF_TIME = {"h": "hours", "d": "days", "min": "minutes", "s": "seconds"}
_ENOUGH = 0.5  # of what an image should carry by design


def verdicts(ledger: pd.DataFrame) -> pd.DataFrame:
    """What predictors found in images, one row per noise level and predictor.

    Columns: noise_variance, predictor, explainable (by design), carried with carried_low and carried_high
    (what images were measured to carry), found with found_low and found_high, share (of what images carry),
    verdict (in words) and poor (true if less than half of what images carry was found).
    """
    found = pooled(ledger).query("part == 'reached'")[["noise_variance", "predictor", "value", "low", "high"]]
    found.columns = ["noise_variance", "predictor", "found", "found_low", "found_high"]
    ceiling = measured_ceiling(ledger).rename(columns={"low": "carried_low", "high": "carried_high"})
    table = found.merge(ceiling, on="noise_variance")
    table["share"] = (table["found"] / table["carried"]).where(table["carried_low"] > 0)
    table["verdict"] = [_verdict(row) for row in table.itertuples()]
    table["poor"] = ~((table["carried_low"] > 0) & (table["found_low"] > 0) & (table["share"] >= 0.5))
    return table


def sentences(
    config: Config, channels: Sequence[str], ledger: pd.DataFrame, longitudinal_nll: pd.DataFrame
) -> list[str]:
    """The run in three sentences: what was made, what was found, what it means for the outcome."""
    table = verdicts(ledger)
    levels_text = levels_in_words(table["noise_variance"].nunique())
    return [
        f"{config.n_subjects:,} synthetic patients were made, each with an image of "
        f"{image_in_words(config.images.drawn_size_px, channels)} and, at {levels_text}, a record of "
        f"{visits_in_words(config)}.",
        _carried_and_found(table, config.subjects.test),
        _outcomes(_gains(table, longitudinal_nll)),
    ]


def stains_in_words(channels: Sequence[str]) -> str:
    """In which colours figures show three stains; nothing for other channels."""
    return "{} is blue, {} magenta and {} green".format(*channels) if are_stains(channels) else ""


def levels_in_words(n: int) -> str:
    """How many noise levels there are."""
    return f"each of {n} noise levels" if n > 1 else "one noise level"


def visits_in_words(config: Config) -> str:
    """How many outcomes a record has, over how long; of a table the page knows the name alone."""
    longitudinal = config.longitudinal
    if longitudinal.design is not None:
        return f"outcomes at the visits of {longitudinal.design}"
    times_h = longitudinal.times_h
    most = "up to " if longitudinal.missing else ""
    unit = nlme.load_model(longitudinal.model).time_unit
    return f"{most}{len(times_h)} outcomes over {times_h[-1] - times_h[0]:g} {_UNITS_OF_TIME.get(unit, unit)}"


def concerns(config: Config, index: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Poor results and failed checks, which a reader must know before using the numbers.

    `index` lists the prepared images; `tables` are those of the report, by name.
    """
    notes = []
    table, random_effects = verdicts(tables["association_ledger"]), tables["random_effects"]
    notes += _concerns_of_ceiling(table)
    notes += concerns_of_preparation(index)
    notes += concerns_of_fits(tables["population_fits"], tables["population_parameters"])
    copied = privacy_verdict(tables["privacy"])
    if copied.poor:
        notes.append(f"Is anything copied from the training data? {copied.text}")
    if config.images.are_drawn:
        drawn, source, real = (
            ("OCT scans", "patients", "scans")
            if config.images.source == "phantom"
            else ("cells", "a microscope", "cells")
        )
        notes.append(
            f"The images were learned from drawn phantoms of {drawn}, not from {source}. This run shows how "
            f"the method works; it says nothing about how hard real {real} are."
        )
    if config.vae.perceptual == "random":
        notes.append(
            "The perceptual terms of the VAE's loss used a VGG16 with random weights, not one trained on "
            "ImageNet (vae.perceptual: random)."
        )
    for name, rows in _by_predictor(table):
        notes += _concerns_of_found(name, rows)
    for name, rows in _by_predictor(_from_image(random_effects)):
        notes += _concerns_of_random_effects(name, rows, with_sites=config.sites is not None)
    notes += _concerns_of_simulation(config, tables["longitudinal_nll"])
    notes += _concerns_of_outcomes(_gains(table, tables["longitudinal_nll"]))
    notes += calibration_concerns(tables["calibration"])
    ranking = tables["latent_ranking"]
    chosen = ranking[ranking["random_effect"] >= 0].sort_values("random_effect")
    names = nlme.load_model(config.longitudinal.model).random_effects
    weak = chosen[chosen["readback_r2"] < LOW_READBACK_R2]
    notes += [
        f"The random effect {names[row.random_effect]} (latent {row.latent}) can hardly be read back from "
        f"decoded images: R² is {row.readback_r2:.2f}. No predictor can make up for this."
        for row in weak.itertuples()
    ]
    return notes


def _concerns_of_ceiling(table: pd.DataFrame) -> list[str]:
    rows = table.drop_duplicates("noise_variance")
    nothing = rows[rows["carried_low"] <= 0]
    little = rows[(rows["carried_low"] > 0) & (rows["carried"] < _ENOUGH * rows["explainable"])]
    notes = []
    if len(nothing):
        notes.append(
            f"At {levels(nothing)}, nothing of the random effects could be read from the images, even by a "
            "network that was trained on them without noise. This run shows no association."
        )
    if len(little):
        shares = percent((little["carried"] / little["explainable"]).iloc[0], 0)
        notes.append(
            f"At {levels(little)}, the images carry only {shares} of what they were designed to carry. "
            "Train the image VAE or the generator longer, or choose other latents."
        )
    return notes


def _concerns_of_found(name: str, rows: pd.DataFrame) -> list[str]:
    rows = rows[rows["carried_low"] > 0]
    nothing = rows[rows["found_low"] <= 0]
    little = rows[(rows["found_low"] > 0) & (rows["share"] < 0.5)]
    notes = []
    if len(nothing):
        notes.append(
            f"At {levels(nothing)}, {name} found no signal that can be told from none: the 95\u00a0% "
            "interval of what it found reaches 0 or below."
        )
    if len(little):
        shares = ", ".join(percent(share, 1) for share in little["share"])
        notes.append(f"At {levels(little)}, {name} found less than half of what the images carry ({shares}).")
    return notes


def _concerns_of_random_effects(name: str, rows: pd.DataFrame, *, with_sites: bool) -> list[str]:
    above = rows[
        direction(rows["r2_low"] - rows["theoretical_max"], rows["r2_high"] - rows["theoretical_max"]) > 0
    ]
    notes = []
    # With sites, an image also tells the case mix of its site, which the theoretical maximum leaves out.
    if len(above) and not with_sites:
        notes.append(
            f"At {levels(above)}, R² of {name} lies above the theoretical maximum by more than its interval "
            "allows. This points to information that leaked from records to images."
        )
    notes += [
        f"R² of {name} rises from {noise_label(less.noise_variance)} to {noise_label(more.noise_variance)}; "
        "it should fall."
        for less, more in pairwise(rows.sort_values("noise_variance").itertuples())
        if direction(more.r2_low - less.r2_high, more.r2_high - less.r2_low) > 0
    ]
    return notes


def _concerns_of_simulation(config: Config, longitudinal_nll: pd.DataFrame) -> list[str]:
    settings = config.longitudinal
    if settings.design is not None or settings.missing:  # records are of different lengths
        return []
    residual = true_parameters(nlme.load_model(settings.model), settings).residual
    # Only an additive error has the same density whatever is predicted.
    sd = residual.sd if isinstance(residual, nlme.Additive) else math.nan
    expected = len(settings.times_h) * (0.5 * math.log(2 * math.pi) + math.log(sd) + 0.5)
    return [
        f"The negative log-likelihood of the true record at σ²\u00a0=\u00a00 is {row.nll:.1f}; it should be "
        f"{expected:.1f}. Simulation and evaluation do not agree."
        for row in longitudinal_nll.query("noise_variance == 0 and population == 'true'").itertuples()
        if abs(row.nll - expected) > _NLL_TOLERANCE
    ]


def _concerns_of_outcomes(gains: pd.DataFrame) -> list[str]:
    notes = []
    for name, rows in _by_predictor(gains):
        not_better = rows[direction(rows["low"], rows["high"]) <= 0]
        if len(not_better):
            notes.append(
                f"At {levels(not_better)}, outcomes predicted by {name} are not shown to fit better than "
                "those of the average patient."
            )
    return notes


def _gains(table: pd.DataFrame, longitudinal_nll: pd.DataFrame) -> pd.DataFrame:
    """Gains of predicted outcomes over those of the average patient: predictor, noise_variance, difference,
    low, high.

    Predictions without any signal can fit better than the average patient, if they are constant and happen to
    lie closer to the median. That says nothing of the images, so where nothing was found the interval has no
    lower end.
    """
    columns = ["predictor", "noise_variance", "gain", "gain_low", "gain_high"]
    gains = longitudinal_nll.loc[longitudinal_nll["population"] == "predicted", columns]
    gains.columns = ["predictor", "noise_variance", "difference", "low", "high"]
    found = table[(table["carried_low"] > 0) & (table["found_low"] > 0)]
    known = pd.MultiIndex.from_frame(found[["predictor", "noise_variance"]])
    of = pd.MultiIndex.from_frame(gains[["predictor", "noise_variance"]])
    return gains.assign(low=gains["low"].where(of.isin(known), -np.inf))


def _carried_and_found(table: pd.DataFrame, n_test: int) -> str:
    best = table[table["predictor"] == table.groupby("predictor", sort=False)["found"].mean().idxmax()]
    ends = best.sort_values("noise_variance").iloc[[0, -1] if len(best) > 1 else [0]]
    designed = _from_to([percent(row.explainable) for row in ends.itertuples()])
    text = (
        f"By design an image shows {designed} of the hidden traits (random effects) that shape its patient’s "
        "record, depending on the noise of variance σ² that is added to them; "
    )
    if (ends["carried_low"] <= 0).all():
        return text + (
            "but the images were measured to carry nothing of them that can be told from chance, so this "
            "run shows no association between these images and these records."
        )
    carried = _from_to([_amount(row.carried, row.carried_low) for row in ends.itertuples()])
    found = _from_to(
        [
            _amount(row.found, row.found_low, row.found_high) if row.carried_low > 0 else NOTHING
            for row in ends.itertuples()
        ]
    )
    who = best["predictor"].iloc[0]
    n = table["predictor"].nunique()
    who += f", whose mean share is the highest of {n} predictors," if n > 1 else ""
    return text + (
        f"the images were measured to carry {carried}, and in the images of {n_test:,} test patients {who} "
        f"found {found}."
    )


def _amount(value: float, low: float, high: float | None = None) -> str:
    """A share with its interval; nothing, where the interval does not lie above 0."""
    if low <= 0:
        return NOTHING
    text = percent(value)
    return text if high is None else f"{text} (95\u00a0% interval {percent(low)} to {percent(high)})"


def _from_to(ends: list[str]) -> str:
    return " to ".join(dict.fromkeys(ends))


def _outcomes(gains: pd.DataFrame) -> str:
    """Whether records simulated from what was found are better than that of the average patient."""
    alike: dict[tuple, list[tuple[str, pd.DataFrame]]] = {}
    for name, rows in _by_predictor(gains):
        alike.setdefault(tuple(direction(rows["low"], rows["high"])), []).append((name, rows))
    parts = [
        compared(
            f"records simulated from what {joined([name for name, _ in same])} found",
            "records of the average patient",
            same[0][1],
            relation="fit better than",
        )
        for same in alike.values()
    ]
    return f"Scored against the outcomes that the image stands for, {'; '.join(parts)}."


def _from_image(random_effects: pd.DataFrame) -> pd.DataFrame:
    return pooled(random_effects).query("term_1 == 'eta_hat' and term_2 == 'eta_pred'")


def _by_predictor(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(str(name), part) for name, part in rows.groupby("predictor", sort=False)]


def _verdict(row) -> str:
    if row.carried_low <= 0:
        return "nothing to be found"
    if row.found_low <= 0:
        return "no signal found"
    if row.share < 0.5:
        return "less than half found"
    return "more than half found" if row.share < 0.75 else "most found"
