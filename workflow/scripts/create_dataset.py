"""Lay out the empty dataset store."""

import json
import logging
from pathlib import Path

from covary import store
from covary.jobs.job import job

log = logging.getLogger("covary")

with job(snakemake.log[0]):
    specification = Path(snakemake.output.specification)
    dataset = specification.with_name("dataset.zarr")
    channels = json.loads(Path(snakemake.input.images).read_text())["channels"]
    layout = dict(channels=channels, attributes=snakemake.params.attributes, **snakemake.params.layout)
    try:
        created = store.create(dataset, **layout)
    except FileExistsError:
        log.warning("the layout changed; the previous dataset is kept as %s", store.set_aside(dataset))
        created = store.create(dataset, **layout)
    store.write_marker(specification, created)
