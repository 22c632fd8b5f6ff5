"""The results in words. Every sentence is computed, and poor results are called poor."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from covary import nlme
from covary.config.experiment import Config
from covary.records.truth import true_parameters
from covary.report.answers import calibration_concerns, pooled, privacy_verdict
from covary.wording import image_in_words, joined, levels, noise_label, percent

_NLL_TOLERANCE = 1.0
_LOW_READBACK_R2 = 0.5


def verdicts(random_effects: pd.DataFrame) -> pd.DataFrame:
    """What predictors found in images, one row per noise level and predictor.

    Columns: noise_variance, r2, r2_low, r2_high, theoretical_max, fraction_of_max, verdict (in words) and
    poor (true if less than half of what can be found was found).
    """
    dropped = ["term_1", "term_2", "random_effect", "mse", "mse_low", "mse_high"]
    table = _from_image(random_effects).drop(columns=dropped)
    table["verdict"] = [_verdict(row) for row in table.itertuples()]
    table["poor"] = (table["r2_low"] <= 0) | (table["fraction_of_max"] < 0.5)
    return table.reset_index(drop=True)


def paragraph(
    config: Config, channels: Sequence[str], random_effects: pd.DataFrame, longitudinal_nll: pd.DataFrame
) -> str:
    """The main numbers of a run in one paragraph."""
    image = _from_image(random_effects)
    record = pooled(random_effects).query("term_2 == 'eta_approx'")["r2"]
    times_h = config.longitudinal.times_h
    sentences = [
        f"{config.subjects.total:,} synthetic subjects were made, each with an image of "
        f"{image_in_words(config.images.drawn_size_px, channels)} and a record of {len(times_h)} outcomes "
        f"over {times_h[-1] - times_h[0]:g} hours at each of {image['noise_variance'].nunique()} noise "
        "levels.",
        "Image and record share random effects: the generator draws them into the image, and, blurred by "
        "noise of variance σ², they drive the record.",
        "The more noise, the less an image can tell of the record.",
        f"On {config.subjects.test:,} test subjects, from images only, "
        + " ".join(_found(name, rows) for name, rows in _by_predictor(image)),
        f"Estimated from the records themselves, by empirical Bayes, the share is {_range(record)}.",
        _outcomes(longitudinal_nll),
    ]
    return " ".join(sentences)


def concerns(
    config: Config,
    random_effects: pd.DataFrame,
    longitudinal_nll: pd.DataFrame,
    latent_ranking: pd.DataFrame,
    calibration: pd.DataFrame,
    privacy: pd.DataFrame,
) -> list[str]:
    """Poor results and failed checks, which a reader must know before using the numbers."""
    notes = []
    copied = privacy_verdict(privacy)
    if copied.poor:
        notes.append(f"Is anything copied from the training data? {copied.text}")
    if config.images.source == "phantom":
        notes.append(
            "The images were learned from drawn phantoms of OCT scans, not from patients. This run shows how "
            "the method works; it says nothing about how hard real scans are."
        )
    if config.vae.perceptual == "random":
        notes.append(
            "The perceptual terms of the VAE's loss used a VGG16 with random weights, not one trained on "
            "ImageNet (vae.perceptual: random)."
        )
    for name, rows in _by_predictor(_from_image(random_effects)):
        notes += _concerns_of_random_effects(name, rows)
    notes += _concerns_of_outcomes(config, longitudinal_nll)
    notes += calibration_concerns(calibration)
    chosen = latent_ranking[latent_ranking["random_effect"] >= 0].sort_values("random_effect")
    weak = chosen[chosen["readback_r2"] < _LOW_READBACK_R2]
    notes += [
        f"Random effect η{row.random_effect + 1} (latent {row.latent}) can hardly be read back from decoded "
        f"images: R² is {row.readback_r2:.2f}. No predictor can make up for this."
        for row in weak.itertuples()
    ]
    return notes


def _concerns_of_random_effects(name: str, rows: pd.DataFrame) -> list[str]:
    nothing = rows[rows["r2_low"] <= 0]
    little = rows[(rows["r2_low"] > 0) & (rows["fraction_of_max"] < 0.5)]
    above = rows[rows["r2_low"] > rows["theoretical_max"]]
    notes = []
    if len(nothing):
        notes.append(
            f"At {levels(nothing)}, {name} found no signal that can be told from none: the "
            "95\u00a0% interval of R² reaches 0 or below."
        )
    if len(little):
        shares = ", ".join(percent(fraction, 1) for fraction in little["fraction_of_max"])
        notes.append(f"At {levels(little)}, {name} found less than half of what can be found ({shares}).")
    if len(above):
        notes.append(
            f"At {levels(above)}, R² of {name} lies above the theoretical maximum by more than its interval "
            "allows. This points to information that leaked from records to images."
        )
    notes += [
        f"R² of {name} rises from {noise_label(less.noise_variance)} to {noise_label(more.noise_variance)}; "
        "it should fall."
        for less, more in pairwise(rows.sort_values("noise_variance").itertuples())
        if more.r2_low > less.r2_high
    ]
    return notes


def _concerns_of_outcomes(config: Config, longitudinal_nll: pd.DataFrame) -> list[str]:
    settings = config.longitudinal
    residual = true_parameters(nlme.load_model(settings.model), settings).residual
    # Only an additive error has the same density whatever is predicted.
    sd = residual.sd if isinstance(residual, nlme.Additive) else math.nan
    expected = len(settings.times_h) * (0.5 * math.log(2 * math.pi) + math.log(sd) + 0.5)
    notes = [
        f"The negative log-likelihood of the true record at σ²\u00a0=\u00a00 is {row.nll:.1f}; it should be "
        f"{expected:.1f}. Simulation and evaluation do not agree."
        for row in longitudinal_nll.query("noise_variance == 0 and population == 'true'").itertuples()
        if abs(row.nll - expected) > _NLL_TOLERANCE
    ]
    for name, rows in _by_predictor(_predicted(longitudinal_nll)):
        worse = rows[~_beats_average(longitudinal_nll, rows)]
        if len(worse):
            notes.append(
                f"At {levels(worse)}, outcomes predicted by {name} fit no better than the average subject."
            )
    return notes


def _found(name: str, rows: pd.DataFrame) -> str:
    first, *others = rows.itertuples()
    text = (
        f"{name} found {percent(first.r2, 1)} of the random effects’ variance "
        f"(95\u00a0% interval {percent(first.r2_low, 1)} to {percent(first.r2_high, 1)}) "
        f"at {noise_label(first.noise_variance)}, where {percent(first.theoretical_max)} can be found"
    )
    parts = [
        f"{percent(row.r2, 1)} at {noise_label(row.noise_variance)} (of {percent(row.theoretical_max)})"
        for row in others
    ]
    return "; ".join([text, *([joined(parts)] if parts else [])]) + "."


def _outcomes(longitudinal_nll: pd.DataFrame) -> str:
    names_by_fit: dict[str, list[str]] = {}
    for name, rows in _by_predictor(_predicted(longitudinal_nll)):
        better = rows[_beats_average(longitudinal_nll, rows)]
        if better.empty:
            fit = "fit no better than the average subject"
        else:
            where = "at every noise level" if len(better) == len(rows) else f"at {levels(better)} only"
            fit = f"fit better than those of the average subject {where}"
        names_by_fit.setdefault(fit, []).append(name)
    parts = [
        f"outcomes simulated from what {joined(names)} found {fit}" for fit, names in names_by_fit.items()
    ]
    return f"Scored against the outcomes that the image encodes, {joined(parts)}."


def _beats_average(longitudinal_nll: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
    average = longitudinal_nll[longitudinal_nll["population"] == "average"].set_index("noise_variance")["nll"]
    return rows["nll"].to_numpy() < average.loc[rows["noise_variance"]].to_numpy()


def _from_image(random_effects: pd.DataFrame) -> pd.DataFrame:
    return pooled(random_effects).query("term_1 == 'eta_hat' and term_2 == 'eta_pred'")


def _predicted(longitudinal_nll: pd.DataFrame) -> pd.DataFrame:
    return longitudinal_nll[longitudinal_nll["population"] == "predicted"]


def _by_predictor(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(str(name), part) for name, part in rows.groupby("predictor", sort=False)]


def _verdict(row) -> str:
    if row.r2_low <= 0:
        return "no signal found"
    if row.fraction_of_max < 0.5:
        return "less than half found"
    return "more than half found" if row.fraction_of_max < 0.75 else "most found"


def _range(values: pd.Series) -> str:
    low, high = percent(values.min(), 1), percent(values.max(), 1)
    return low if low == high else f"{low} to {high}, depending on the noise level"
