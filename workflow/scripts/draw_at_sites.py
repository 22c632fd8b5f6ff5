"""The same subjects as the scanner of every site shows them."""

from pathlib import Path

import numpy as np

from covary import diffusion, store
from covary.config.generator import Sampling
from covary.config.sites import Sites
from covary.dataset import names
from covary.dataset.latents import Latents
from covary.dataset.sites import scan_at_all
from covary.dataset.subjects import latent_vectors, members
from covary.jobs.run import run


def draw_at_sites(
    dataset: Path, generator: Path, latents: Path, images: Path, sampling: Sampling, sites: Sites,
    number: int, seed: int,
) -> None:  # fmt: skip
    """Draw the first test subjects again, without a scanner, and let each of them pass through all."""
    subjects = store.read(dataset, names.SUBJECTS)
    start = members(subjects, "test").start
    stop = min(start + number, members(subjects, "test").stop)
    drawn = diffusion.generate(
        diffusion.ImageGenerator.load(generator),
        latent_vectors(Latents.read(latents), seed, start, stop),
        np.arange(start, stop),
        sampling,
        seed,
    )
    np.savez_compressed(images, drawn=drawn, **scan_at_all(drawn, subjects, start, sites, seed=seed))


if __name__ == "__main__":
    run(draw_at_sites)
