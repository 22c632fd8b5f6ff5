"""Marker files: small JSON files beside the store that state what was written, with its SHA-256.

Rules depend on markers and not on the files of the store, whose metadata may change.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from covary.errors import UserError
from covary.files import whole

_BLOCK = 256  # images that are in memory at once


def little_endian(values: np.ndarray) -> np.ndarray:
    """An array in C order with little-endian bytes, the form in which arrays are hashed."""
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))


def images_sha256(images: Any, marker: Path, subjects: slice) -> str:
    """A digest of the images of some subjects that does not depend on what other subjects there are.

    It is made of the digests of whole shards, which the `marker` of all images has, and of the images
    themselves where a shard is cut. `images` is the array of all.
    """
    digest = hashlib.sha256()
    for shard in read_marker(marker)["shards"]:
        start, stop = max(shard["start"], subjects.start), min(shard["stop"], subjects.stop)
        if (start, stop) == (shard["start"], shard["stop"]):
            digest.update(shard["sha256"].encode())
        elif start < stop:
            part = hashlib.sha256()
            for first in range(start, stop, _BLOCK):
                part.update(little_endian(images[first : min(first + _BLOCK, stop)]).data)
            digest.update(part.hexdigest().encode())
    return digest.hexdigest()


def array_sha256(values: np.ndarray) -> str:
    """SHA-256 of an array's decoded bytes, independent of chunks and codecs."""
    return hashlib.sha256(little_endian(values).data).hexdigest()


def write_marker(path: Path, record: dict[str, Any]) -> None:
    """Write a marker whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        partial.write_text(json.dumps(record, indent=2, sort_keys=True), encoding="utf-8")


def read_marker(path: Path) -> dict[str, Any]:
    """Read a marker. Raises UserError that names the file if it is not one."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable marker file ({error})") from None
    if not isinstance(record, dict) or "sha256" not in record:
        raise UserError(f"{path}: not a marker file: it has no `sha256`")
    return record
