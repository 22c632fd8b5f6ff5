"""Rank the active latents and pick the random effects."""

from pathlib import Path

import numpy as np

from covary import vae
from covary.config.vae import Ranking
from covary.jobs.run import run


def rank_latents(
    weights: Path,
    encodings: Path,
    ranking: Path,
    agreement: Path,
    settings: Ranking,
    random_effects: int,
    open_share: float,
    seed: int,
) -> None:
    """Write the ranking with the chosen latents, and how far the two methods agree."""
    variance = np.load(encodings)["train_mean"].var(axis=0)
    network = vae.VAE.load(weights.parent)
    table = vae.rank_latents(
        network, variance, settings, random_effects=random_effects, open_share=open_share, seed=seed
    )
    table.to_csv(ranking, index=False)
    vae.ranking_agreement(table).to_csv(agreement, index=False)


if __name__ == "__main__":
    run(rank_latents)
