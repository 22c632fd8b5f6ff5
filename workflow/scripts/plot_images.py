"""Real and generated images, reconstructions, traversals of the leading latents."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from covary import diffusion, figures, quality, store, vae
from covary import images as prepared_images
from covary.config.generator import Sampling
from covary.dataset import names
from covary.dataset.latents import Latents
from covary.jobs.run import run

N_EXAMPLES, N_RECONSTRUCTIONS, N_LATENTS = 40, 6, 5
VALUES = np.linspace(-3, 3, 7)


def plot_images(
    index: Path,
    encodings: Path,
    ranking: Path,
    latents: Path,
    generator: Path,
    dataset: Path,
    examples: Path,
    reconstructions: Path,
    traversals: Path,
    sampling: Sampling,
    seed: int,
) -> None:
    """Draw the three figures."""
    prepared = prepared_images.load(index.parent)
    coloured = partial(figures.in_colours, channels=prepared.channels)
    network = diffusion.ImageGenerator.load(generator)
    generated = store.read(dataset, names.IMAGES)["image"]

    some = quality.spread(len(prepared.test), N_EXAMPLES)
    shown = map(coloured, (prepared.generator_test[some], generated[-N_EXAMPLES:].values))
    figures.save(figures.examples(*shown), examples)

    some = quality.spread(len(prepared.test), N_RECONSTRUCTIONS)
    stored = np.load(encodings)
    mean, log_variance = (stored[f"test_{part}"][some] for part in ("mean", "log_variance"))
    by_generator = diffusion.reconstruct(network, mean, log_variance, sampling, seed)
    by_vae = vae.decode(network.vae, mean)
    shown = map(coloured, (prepared.test[some], by_vae, by_generator))
    figures.save(figures.reconstructions(*shown), reconstructions)

    table = pd.read_csv(ranking)
    ranked = table[table["active"]].sort_values("rank_readback")["latent"].to_numpy()[:N_LATENTS]
    strips = diffusion.traverse(network, ranked, VALUES, Latents.read(latents), sampling, seed)
    figures.save(figures.traversals(coloured(strips), ranked.tolist(), VALUES), traversals)


if __name__ == "__main__":
    run(plot_images)
