"""Real and generated images, reconstructions, traversals of the leading latents."""

from pathlib import Path

import numpy as np
import pandas as pd

from covary import diffusion, figures, images, rng, store, vae
from covary.config import Sampling
from covary.job import job

N_IMAGES, N_LATENTS = 6, 5
VALUES = np.linspace(-3, 3, 7)

with job(snakemake.log[0]):
    seed = snakemake.params.seed
    prepared = images.load(Path(snakemake.input.index).parent)
    generator = diffusion.ImageGenerator.load(Path(snakemake.input.unet).parents[1])
    ranking = pd.read_csv(snakemake.input.ranking)

    def draw(z: np.ndarray, subjects: np.ndarray) -> np.ndarray:
        return diffusion.generate(generator, z, subjects, Sampling(**snakemake.params.sampling), seed)

    def save(figure, name: str) -> None:
        figures.save(figure, Path(snakemake.output[name]))

    # Spread over the test images, which are sorted by class.
    shown = np.linspace(0, len(prepared.test) - 1, N_IMAGES).astype(int)
    encodings = np.load(snakemake.input.encodings)
    mean, log_variance = (encodings[f"test_{part}"][shown] for part in ("mean", "log_variance"))
    z = mean + np.exp(0.5 * log_variance) * rng.normal(seed, "figure/posterior", 0, N_IMAGES, mean.shape[1:])
    real = prepared.test[shown]
    save(
        figures.reconstructions(real, vae.decode(generator.vae, z), draw(z, np.arange(N_IMAGES))),
        "reconstructions",
    )

    generated = store.read(Path(snakemake.input.images).parents[1] / "dataset.zarr", "images")["image"]
    some = np.linspace(0, len(prepared.test) - 1, 16).astype(int)
    save(figures.examples(prepared.generator_test[some], generated[-16:].values), "examples")

    leading = ranking[ranking["active"]].sort_values("rank_readback")["latent"].to_numpy()[:N_LATENTS]
    base = rng.normal(seed, "figure/traversal", 0, 1, (len(ranking),))[0]
    base[leading] = 0
    grid = np.tile(base, (len(leading), len(VALUES), 1))
    for row, latent in enumerate(leading):
        grid[row, :, latent] = VALUES
    strips = draw(grid.reshape(-1, len(base)), np.zeros(grid.shape[0] * grid.shape[1], dtype=int))
    strips = strips.reshape(*grid.shape[:2], *strips.shape[1:])
    save(figures.traversals(strips, leading.tolist(), VALUES), "traversals")
