"""Write the card and the Croissant metadata of the dataset."""

import json
from pathlib import Path

from covary import publication
from covary.config.experiment import Config
from covary.jobs.run import run


def describe_dataset(manifest: Path, dataset: Path, card: Path, croissant: Path, config: Config) -> None:
    """Write both, from the configuration and the manifest."""
    text = publication.dataset_card(config, json.loads(manifest.read_text(encoding="utf-8")), dataset)
    card.write_text(text, encoding="utf-8")
    metadata = json.dumps(publication.croissant(config, manifest, dataset), indent=2, ensure_ascii=False)
    croissant.write_text(metadata + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(describe_dataset)
