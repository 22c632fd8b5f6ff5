"""Files of the store: whole or not at all, and on the disk before anything says so."""

import json
import os
from pathlib import Path
from typing import Any


def replace_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a JSON file as a whole, also while others read it or replace it."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(content, indent=2), encoding="utf-8")
    partial.replace(path)


def reopen(dataset: Path) -> None:
    """Take the index of groups away that makes a dataset a finished one; any writer may do so."""
    metadata = dataset / "zarr.json"
    root = json.loads(metadata.read_text(encoding="utf-8")) if metadata.exists() else {}
    if root.pop("consolidated_metadata", None) is not None:
        replace_json(metadata, root)


def flush(path: Path) -> None:
    """Have the kernel write a file, or all files in a folder, to disk: a marker must not outlive its data."""
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
