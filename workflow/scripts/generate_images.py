"""Draw the images of one shard of subjects."""

from pathlib import Path

import numpy as np

from covary import diffusion, store
from covary.config.generator import Sampling
from covary.dataset.shards import Shard
from covary.dataset.subjects import latent_vectors
from covary.jobs.job import job

with job(snakemake.log[0]):
    seed = snakemake.params.seed
    shard = Shard(int(snakemake.wildcards.shard), *snakemake.params.subjects)
    generator = diffusion.ImageGenerator.load(Path(snakemake.input.unet).parents[1])
    images = diffusion.generate(
        generator,
        latent_vectors(seed, shard.start, shard.stop, generator.vae.latent_dim),
        np.arange(shard.start, shard.stop),
        Sampling(**snakemake.params.sampling),
        seed,
    )
    store.write_image_shard(
        Path(snakemake.input.specification).with_name("dataset.zarr"),
        shard,
        images,
        Path(snakemake.output.marker),
        {"seed": seed, "code": snakemake.params.code},
    )
