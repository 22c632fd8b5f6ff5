"""Write the card and the Croissant metadata of the dataset."""

import json
from pathlib import Path

from covary import publication
from covary.config.reading import check
from covary.jobs.job import job

with job(snakemake.log[0]):
    config, manifest = check(snakemake.params.config), Path(snakemake.input.manifest)
    dataset = manifest.with_name("dataset.zarr")
    card = publication.dataset_card(config, json.loads(manifest.read_text()), dataset)
    metadata = publication.croissant(config, manifest, dataset)
    Path(snakemake.output.card).write_text(card, encoding="utf-8")
    Path(snakemake.output.croissant).write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n")
