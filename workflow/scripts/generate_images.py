"""Draw the images of one shard of subjects."""

from pathlib import Path

from covary import diffusion, shards, store
from covary.config import Generator
from covary.job import job

with job(snakemake.log[0]):
    dataset = Path(snakemake.input.subjects).parents[1] / "dataset.zarr"
    z = store.read(dataset, "subjects")["z"]
    shard = shards.partition(len(z), snakemake.params.shard_subjects)[int(snakemake.wildcards.shard)]
    images = diffusion.generate(
        diffusion.Generator.load(Path(snakemake.input.unet).parents[1]),
        z[shard.start : shard.stop].values,
        Generator(**snakemake.params.generator),
        seed=snakemake.params.seed,
        start=shard.start,
    )
    store.write_image_shard(
        dataset,
        shard,
        images,
        Path(snakemake.output.marker),
        {"seed": snakemake.params.seed, "code": snakemake.params.code},
    )
