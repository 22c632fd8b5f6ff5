"""Fetch and check a data set or weights."""

import json
from pathlib import Path

from covary.jobs import resources
from covary.jobs.job import job

with job(snakemake.log[0]):
    listing = Path(snakemake.output.listing)
    files = resources.fetch(snakemake.wildcards.resource, Path(snakemake.input.sources), listing.parents[1])
    listing.write_text(json.dumps(files, indent=2) + "\n", encoding="utf-8")
