"""Draw the images of one shard of subjects."""

from pathlib import Path

from covary import diffusion, shards, store
from covary.config import Sampling
from covary.job import job

with job(snakemake.log[0]):
    dataset = Path(snakemake.input.subjects).parents[1] / "dataset.zarr"
    z = store.read(dataset, "subjects")["z"]
    size_px = store.read(dataset, "images")["image"].shape[-1]
    shard = shards.partition(len(z), snakemake.params.shard_subjects)[int(snakemake.wildcards.shard)]
    images = diffusion.generate(
        diffusion.ImageGenerator.load(Path(snakemake.input.unet).parents[1]),
        z[shard.start : shard.stop].values,
        diffusion.initial_noise(snakemake.params.seed, shard.start, shard.stop, size_px),
        Sampling(**snakemake.params.sampling),
    )
    store.write_image_shard(
        dataset,
        shard,
        images,
        Path(snakemake.output.marker),
        {"seed": snakemake.params.seed, "code": snakemake.params.code},
    )
