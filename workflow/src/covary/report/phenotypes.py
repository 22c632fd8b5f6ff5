"""The part of the report about phenotypes of cells."""

from collections.abc import Mapping

import pandas as pd

from covary.config.experiment import Config
from covary.phenotypes.comparison import HERE, main_accuracy
from covary.wording import joined, percent

FIGURES = (
    "cells_by_mode",
    "phenotype_accuracy",
    "confusion_matrix",
    "mode_correlations",
    "interpolations",
    "family_reconstructions",
    "open_gates",
    "family_curves",
)
TABLES = ("vae_families", "phenotype_accuracy", "phenotype_gain", "phenotype_precision", "confusion")
CAPTIONED = (*FIGURES, "vae_families", "phenotype_precision")


def has_phenotypes(config: Config) -> bool:
    """Whether a run has profiles of cells."""
    return config.images.source == "cells"


def sentences(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """The results in words: how well modes of action are told, and what the latents could carry."""
    families = tables["vae_families"]
    families = families[families["source"] == HERE]
    accuracy = tables["phenotype_accuracy"]
    treatments = int(main_accuracy(accuracy)["treatments"])
    best = families.loc[families["accuracy"].idxmax()]
    gains = tables["phenotype_gain"].query("family == @best.family")
    more = [
        f"{_points(row.gain)} [{_points(row.low)}, {_points(row.high)}] over {row.features}"
        for row in gains.sort_values("gain").itertuples()
    ]
    shares = families.set_index("model")[[f"readback_r2_{i}" for i in (1, 2, 3)]].mean(axis=1).clip(lower=0)
    return [
        f"{best['model']}, the best family of this run, tells the mode of action of {_with_interval(best)} "
        f"of {treatments} treatments by the nearest profile of another compound."
        + _as_they_lie(accuracy, best),
        f"Beside features that need no training, it gains, in percentage points, {joined(more)}. "
        "In brackets: 95 % intervals over treatments, and over networks with random weights; where one holds "
        "0, this run does not say that training pays. The best of several families was taken, which flatters "
        "it a little.",
        "As random effects, the three latents that can be read back best could carry this much of a record: "
        f"{joined([f'{percent(share, 0)} with {model}' for model, share in shares.items()])}.",
    ]


def _as_they_lie(accuracy: pd.DataFrame, best: pd.Series) -> str:
    """The same question without an average over orientations, if there was one."""
    averaged = int(accuracy["orientations"].max())
    if averaged == 1:
        return ""
    single = main_accuracy(accuracy.query("orientations == 1 and features == @best.family"))
    return (
        f" Features, with and without training, are averaged over {averaged} orientations of each cell; from "
        f"cells as they lie, as in the paper, it is {_with_interval(single)}."
    )


def _points(share: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * share:+.0f}".replace("-", "−")


def _with_interval(row: pd.Series) -> str:
    low, high = (percent(row[end], 0) for end in ("low", "high"))
    return f"{percent(row['accuracy'], 0)} [{low}, {high}]"
