"""Check every group, consolidate the metadata, write the manifest."""

from pathlib import Path
from typing import Any

from covary import store
from covary.jobs.run import run
from covary.publication import provenance


def finalise_dataset(dataset: Path, markers: list[Path], manifest: Path, attributes: dict[str, Any]) -> None:
    """Finish the dataset; its attributes also say which versions made it."""
    store.finalise(dataset, markers, manifest, {**attributes, "versions": provenance.versions()})


if __name__ == "__main__":
    run(finalise_dataset)
