"""Draw the images of one shard of subjects."""

from pathlib import Path

import numpy as np

from covary import diffusion, store
from covary.config.generator import Sampling
from covary.dataset.shards import Shard
from covary.dataset.subjects import latent_vectors
from covary.jobs.run import run


def generate_images(
    dataset: Path,
    generator: Path,
    shard: int,
    subjects: list[int],
    sampling: Sampling,
    marker: Path,
    seed: int,
    code: str,
) -> None:
    """Draw the images of the subjects from subjects[0] to before subjects[1] and write their shard."""
    part = Shard(shard, *subjects)
    network = diffusion.ImageGenerator.load(generator)
    images = diffusion.generate(
        network,
        latent_vectors(seed, part.start, part.stop, network.vae.latent_dim),
        np.arange(part.start, part.stop),
        sampling,
        seed,
    )
    store.write_image_shard(dataset, part, images, marker, {"seed": seed, "code": code})


if __name__ == "__main__":
    run(generate_images)
