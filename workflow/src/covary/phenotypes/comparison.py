"""Families of VAEs side by side: this run's and those that were published. Needs no networks."""

import pandas as pd

from covary.config.vae import Family
from covary.phenotypes.published import published

MODELS: dict[Family, str] = {
    "beta_vae": "β-VAE",
    "vae_gan": "VAE-GAN",
    "sparse_vae": "SparseVAE",
    "sparse_vae_gan": "SparseVAE-GAN",
}
HERE = "this run"


def main_accuracy(accuracies: pd.DataFrame) -> pd.Series:
    """The row of a table of accuracies that words and figures speak of."""
    return accuracies.query(
        "normalisation == 'sphered' and metric == 'cosine' and neighbour == 'other_compound' "
        "and not with_control and orientations == orientations.max()"
    ).iloc[0]


def with_published(rows: list[dict]) -> pd.DataFrame:
    """The rows of this run, and below them what was published."""
    return pd.concat([pd.DataFrame(rows), published()], ignore_index=True)
