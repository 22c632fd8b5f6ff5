"""Write the card and the Croissant metadata of the dataset."""

import json
from pathlib import Path

import pandas as pd

from covary import evaluate, publication
from covary.config.experiment import Config
from covary.jobs.run import run


def describe_dataset(
    manifest: Path, ledger: Path, dataset: Path, card: Path, croissant: Path, config: Config
) -> None:
    """Write both, from the configuration, the manifest and what images were measured to carry."""
    ceiling = evaluate.measured_ceiling(pd.read_csv(ledger))
    listed = json.loads(manifest.read_text(encoding="utf-8"))
    card.write_text(publication.dataset_card(config, listed, dataset, ceiling), encoding="utf-8")
    metadata = publication.croissant(config, manifest, dataset, ceiling)
    croissant.write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(describe_dataset)
