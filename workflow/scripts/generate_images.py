"""Draw the images of one shard of subjects."""

from pathlib import Path

import numpy as np
import pandas as pd

from covary import diffusion, store
from covary.config.generator import Sampling
from covary.dataset.shards import Shard
from covary.dataset.subjects import latent_vectors
from covary.jobs.run import run


def generate_images(
    dataset: Path,
    generator: Path,
    ranking: list[Path],
    shard: int,
    subjects: list[int],
    sampling: Sampling,
    marker: Path,
    seed: int,
    code: str,
) -> None:
    """Draw the images of the subjects from subjects[0] to before subjects[1] and write their shard.

    Without a `ranking`, the prior has no gates.
    """
    part = Shard(shard, *subjects)
    network = diffusion.ImageGenerator.load(generator)
    open_share = np.ones(network.vae.latent_dim)
    if ranking:
        open_share = pd.read_csv(ranking[0])["open_share"].to_numpy(float)
    images = diffusion.generate(
        network,
        latent_vectors(seed, part.start, part.stop, open_share),
        np.arange(part.start, part.stop),
        sampling,
        seed,
    )
    store.write_image_shard(dataset, part, images, marker, {"seed": seed, "code": code})


if __name__ == "__main__":
    run(generate_images)
