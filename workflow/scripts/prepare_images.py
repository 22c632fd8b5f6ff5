"""Read, clean, crop and resize the images."""

from pathlib import Path

from covary import images
from covary.config.images import Images
from covary.jobs.job import job

if __name__ == "__main__":
    with job(snakemake.log[0]):
        folder = Path(snakemake.output.index).parent
        images.prepare(
            Path(snakemake.params.folder),
            folder,
            Images.model_validate(snakemake.params.images),
            seed=snakemake.params.seed,
            workers=snakemake.threads,
            checkpoint_dir=folder / "checkpoints" / snakemake.params.code,
        )
