"""Files of weights that come with the workflow: safetensors that say what they are, and SHA256SUMS."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from covary.errors import UserError

_SUMS = "SHA256SUMS"
_ABOUT = "about"


def description(about: dict[str, Any]) -> dict[str, str]:
    """Metadata for a file of weights. One key, because the order of several would vary."""
    return {_ABOUT: json.dumps(about)}


def add_checksum(path: Path) -> None:
    """Write the SHA-256 of a file to SHA256SUMS beside it, in the format of `sha256sum`."""
    sums = _stated(path) | {path.name: _sha256(path)}
    path.with_name(_SUMS).write_text("".join(f"{sums[name]}  {name}\n" for name in sorted(sums)))


def read_description(path: Path, expected: dict[str, Any], key: str, instead: str) -> dict[str, Any]:
    """What the file says of itself, after its checksum is checked.

    Raises UserError, which names the `key` of the configuration and what to do `instead`, if the file is
    missing, has another checksum than SHA256SUMS says, describes nothing, or says something else than is
    `expected`.
    """
    if not path.is_file():
        raise UserError(f"{key}: {path}: no such file; {instead}")
    if _stated(path).get(path.name) != _sha256(path):
        raise UserError(
            f"{key}: {path} is not the file that {_SUMS} beside it names; restore both, or {instead}"
        )
    try:
        with safe_open(path, "np") as file:
            about = json.loads((file.metadata() or {})[_ABOUT])
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{key}: {path} does not say what it is ({error!r}); {instead}") from None
    for name, value in expected.items():
        if about.get(name) != value:
            raise UserError(f"{key}: {path} has {name} {about.get(name)}, here it is {value}; {instead}")
    return about


def stated_sha256(path: str | Path) -> str | None:
    """What SHA256SUMS says of a file; a rule that uses the file runs again when it changes."""
    return _stated(Path(path)).get(Path(path).name)


def _stated(path: Path) -> dict[str, str]:
    sums = path.with_name(_SUMS)
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    return {line[66:]: line[:64] for line in lines}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
