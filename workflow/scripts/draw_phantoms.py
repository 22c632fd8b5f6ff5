"""Draw OCT B-scans with known factors as JPEG files."""

from pathlib import Path

from covary import phantom
from covary.config.images import Phantom
from covary.jobs.job import job

if __name__ == "__main__":
    with job(snakemake.log[0]):
        phantom.write_dataset(
            Path(snakemake.output.factors).parent,
            Phantom(**snakemake.params.phantom),
            seed=snakemake.params.seed,
            workers=snakemake.threads,
        )
