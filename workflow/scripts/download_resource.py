"""Fetch and check a data set or weights."""

import json
from pathlib import Path

from covary.jobs import resources
from covary.jobs.run import run


def download_resource(resource: str, sources: Path, listing: Path, folder: Path) -> None:
    """Bring the files of a resource below `folder` and list them."""
    files = resources.fetch(resource, sources, folder)
    listing.write_text(json.dumps(files, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(download_resource)
