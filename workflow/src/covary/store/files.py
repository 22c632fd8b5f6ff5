"""JSON files of the store, and the index that makes a dataset a finished one."""

import json
from pathlib import Path
from typing import Any

from covary.files import whole


def replace_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a JSON file as a whole, also while others read it or replace it."""
    with whole(path) as partial:
        partial.write_text(json.dumps(content, indent=2), encoding="utf-8")


def reopen(dataset: Path) -> None:
    """Take the index of groups away that makes a dataset a finished one; any writer may do so."""
    metadata = dataset / "zarr.json"
    root = json.loads(metadata.read_text(encoding="utf-8")) if metadata.exists() else {}
    if root.pop("consolidated_metadata", None) is not None:
        replace_json(metadata, root)
