"""Check every group, consolidate the metadata, write the manifest."""

from pathlib import Path

from covary import store
from covary.jobs.job import job
from covary.publication import provenance

with job(snakemake.log[0]):
    manifest = Path(snakemake.output.manifest)
    store.finalise(
        manifest.with_name("dataset.zarr"),
        [Path(marker) for marker in snakemake.input],
        manifest,
        {**snakemake.params.attributes, "versions": provenance.versions()},
    )
