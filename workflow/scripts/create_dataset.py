"""Lay out the empty dataset store."""

import json
import logging
from pathlib import Path
from typing import Any

from covary import store
from covary.jobs.run import run

log = logging.getLogger("covary")


def create_dataset(
    images: Path, specification: Path, dataset: Path, layout: dict[str, Any], attributes: dict[str, Any]
) -> None:
    """Lay out the store; a store of another layout is kept under another name."""
    layout |= {"channels": json.loads(images.read_text(encoding="utf-8"))["channels"]}
    try:
        created = store.create(dataset, attributes=attributes, **layout)
    except FileExistsError:
        log.warning("the layout changed; the previous dataset is kept as %s", store.set_aside(dataset))
        created = store.create(dataset, attributes=attributes, **layout)
    store.write_marker(specification, created)


if __name__ == "__main__":
    run(create_dataset)
