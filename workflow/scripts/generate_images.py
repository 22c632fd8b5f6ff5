"""Draw the images of one shard of subjects."""

from pathlib import Path

import numpy as np

from covary import diffusion, store
from covary.config.generator import Sampling
from covary.config.sites import Sites
from covary.dataset.latents import Latents
from covary.dataset.shards import Shard
from covary.dataset.sites import draw_sites, scan, sites_of
from covary.dataset.subjects import latent_vectors
from covary.jobs.run import run


def generate_images(
    dataset: Path,
    generator: Path,
    latents: Path,
    shard: int,
    subjects: list[int],
    sampling: Sampling,
    sites: Sites | None,
    random_effects: int,
    first_unseen: int | None,
    marker: Path,
    seed: int,
    code: str,
) -> None:
    """Draw the images of the subjects from subjects[0] to before subjects[1] and write their shard.

    With `sites`, images pass through the scanners of the sites.
    """
    part = Shard(shard, *subjects)
    network = diffusion.ImageGenerator.load(generator)
    images = diffusion.generate(
        network,
        latent_vectors(Latents.read(latents), seed, part.start, part.stop),
        np.arange(part.start, part.stop),
        sampling,
        seed,
    )
    if sites:
        table = draw_sites(sites, random_effects, seed=seed)
        site = sites_of(sites, part.start, part.stop, first_unseen=first_unseen, seed=seed)
        images = scan(images, table, site, part.start, sites, seed=seed)
    store.write_image_shard(dataset, part, images, marker, {"seed": seed, "code": code})


if __name__ == "__main__":
    run(generate_images)
