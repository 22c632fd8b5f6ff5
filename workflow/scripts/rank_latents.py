"""Rank the active latents and pick the random effects."""

from pathlib import Path

import numpy as np

from covary import vae
from covary.config.vae import Ranking
from covary.dataset.latents import Latents
from covary.jobs.run import run
from covary.training.draws import keyed_generator


def rank_latents(
    weights: Path,
    encodings: Path,
    ranking: Path,
    agreement: Path,
    latents: Path,
    settings: Ranking,
    random_effects: int,
    open_share: float,
    other_latents: str,
    conditioning_source: str,
    seed: int,
) -> None:
    """Write the ranking, how far its two methods agree, and how z is distributed over subjects."""
    encoded = np.load(encodings)
    mean = encoded["train_mean"]
    variance = mean.var(axis=0)
    network = vae.VAE.load(weights.parent)
    table = vae.rank_latents(
        network, variance, settings, random_effects=random_effects, open_share=open_share, seed=seed
    )
    table.to_csv(ranking, index=False)
    vae.ranking_agreement(table).to_csv(agreement, index=False)
    mixture = None
    if other_latents == "images":
        posterior = (mean, encoded["train_log_variance"], mean.std(axis=0))
        z = vae.conditioning(*posterior, conditioning_source, keyed_generator(seed, "latent_mixture", 0))
        modelled = np.flatnonzero((table["random_effect"] >= 0) | (variance > vae.READABLE_VARIANCE))
        mixture = vae.joint_distribution(z.numpy(), modelled, seed)
    Latents.of_ranking(table, mixture).write(latents)


if __name__ == "__main__":
    run(rank_latents)
