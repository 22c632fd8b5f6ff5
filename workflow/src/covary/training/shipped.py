"""Files of weights that come with the workflow: safetensors that say what they are, and a checksum."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from safetensors import SafetensorError, safe_open

from covary.errors import UserError

_ABOUT = "about"


def description(about: dict[str, Any]) -> dict[str, str]:
    """Metadata for a file of weights. One key, because the order of several would vary."""
    return {_ABOUT: json.dumps(about)}


def add_checksum(path: Path) -> None:
    """Write the SHA-256 of a file beside it, in the format of `sha256sum`."""
    _sum_of(path).write_text(f"{_sha256(path)}  {path.name}\n", encoding="utf-8")


def read_description(path: Path, expected: dict[str, Any], key: str, instead: str) -> dict[str, Any]:
    """What the file says of itself, after its checksum is checked.

    Raises UserError, which names the `key` of the configuration and what to do `instead`, if the file is
    missing, has another checksum than is stated beside it, describes nothing, or says something else than is
    `expected`.
    """
    if not path.is_file():
        raise UserError(f"{key}: {path}: no such file; {instead}")
    if stated_sha256(path) != _sha256(path):
        raise UserError(f"{key}: {path} is not the file of {_sum_of(path).name}; restore both, or {instead}")
    try:
        with safe_open(path, "np") as file:
            about = json.loads((file.metadata() or {})[_ABOUT])
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{key}: {path} does not say what it is ({error!r}); {instead}") from None
    for name, value in expected.items():
        if about.get(name) != value:
            raise UserError(f"{key}: {path} has {name} {about.get(name)}, here it is {value}; {instead}")
    return about


def stated_sha256(path: str | Path | None) -> str | None:
    """The checksum that is stated beside the file; None without a file.

    A rule that uses the file runs again when it changes.
    """
    stated = None if path is None else _sum_of(Path(path))
    return stated.read_text(encoding="utf-8").split(" ")[0] if stated and stated.is_file() else None


def content_of(path: str | None) -> UInt8[np.ndarray, " byte"]:
    """The bytes of the file, for the fingerprint of a training; none without a file."""
    return np.frombuffer(Path(path).read_bytes() if path else b"", np.uint8)


def _sum_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
