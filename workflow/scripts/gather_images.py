"""Check that every subject has its image."""

from pathlib import Path

from covary import store
from covary.jobs.job import job

with job(snakemake.log[0]):
    marker = Path(snakemake.output.marker)
    store.validate_images(
        marker.parents[1] / "dataset.zarr",
        snakemake.params.n_subjects,
        [Path(shard) for shard in snakemake.input.shards],
        marker,
    )
