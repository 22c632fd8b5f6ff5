"""The part of the report about phenotypes of cells."""

from collections.abc import Mapping

import pandas as pd

from covary.config.experiment import Config
from covary.phenotypes.comparison import HERE, MODELS, main_accuracy
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
TABLES = ("vae_families", "phenotype_accuracy", "phenotype_precision", "confusion")
CAPTIONED = (*FIGURES, "vae_families", "phenotype_precision")


def has_phenotypes(config: Config) -> bool:
    """Whether a run has profiles of cells."""
    return config.images.source == "cells"


def sentences(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """The results in words: how well modes of action are told, and what the latents could carry."""
    families = tables["vae_families"]
    families = families[families["source"] == HERE]
    accuracy = tables["phenotype_accuracy"].groupby("features", sort=False)
    found = accuracy.apply(main_accuracy, include_groups=False)
    best = families.loc[families["accuracy"].idxmax()]
    baseline = found.drop(index=list(MODELS), errors="ignore").sort_values("accuracy").iloc[-1]
    read_back = families.set_index("model")[[f"readback_r2_{i}" for i in (1, 2, 3)]]
    shares = read_back.mean(axis=1).clip(lower=0)
    return [
        f"{best['model']} tells the mode of action of {_with_interval(best)} of "
        f"{int(baseline['treatments'])} treatments by the nearest profile of another compound. "
        f"{baseline.name}, of the features that need no training, tells {_with_interval(baseline)}. Each has "
        "the highest share of its kind in this run. The difference of the two has no paired interval here, "
        "so this run does not say whether training pays.",
        "As random effects, the three latents that can be read back best could carry this much of a record: "
        f"{joined([f'{percent(share, 0)} with {model}' for model, share in shares.items()])}.",
    ]


def _with_interval(row: pd.Series) -> str:
    low, high = (percent(row[end], 0) for end in ("low", "high"))
    return f"{percent(row['accuracy'], 0)} [{low}, {high}]"
