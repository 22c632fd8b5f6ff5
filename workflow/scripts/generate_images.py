"""Draw the images of one shard of subjects."""

from pathlib import Path

from covary import diffusion, store
from covary.config import Sampling
from covary.job import job
from covary.shards import Shard
from covary.subjects import latent_vectors

with job(snakemake.log[0]):
    seed, size_px = snakemake.params.seed, snakemake.params.layout["size_px"]
    shard = Shard(int(snakemake.wildcards.shard), *snakemake.params.subjects)
    generator = diffusion.ImageGenerator.load(Path(snakemake.input.unet).parents[1])
    images = diffusion.generate(
        generator,
        latent_vectors(seed, shard.start, shard.stop, generator.vae.latent_dim),
        diffusion.initial_noise(seed, shard.start, shard.stop, size_px),
        Sampling(**snakemake.params.sampling),
    )
    store.write_image_shard(
        Path(snakemake.input.specification).with_name("dataset.zarr"),
        shard,
        images,
        Path(snakemake.output.marker),
        {"seed": seed, "code": snakemake.params.code},
    )
