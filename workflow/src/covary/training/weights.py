"""Weights of trained networks as files from which other trainings start."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from covary.training.shipped import add_checksum, description, read_description


def write_weights(weights: Mapping[str, Tensor], about: dict[str, Any], path: Path) -> None:
    """Write weights by name in half precision, what the file says of itself, and its checksum beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    halved = {name: _as(value.half(), value).contiguous() for name, value in weights.items()}
    save_file(halved, path, description(about))
    add_checksum(path)


def read_weights(
    path: Path, expected: dict[str, Any], key: str, instead: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the file says of itself, and its weights by name in single precision.

    Raises UserError as `shipped.read_description` does, which explains the arguments.
    """
    about = read_description(path, expected, key, instead)
    return about, {name: _as(value.float(), value) for name, value in load_file(path).items()}


def _as(converted: Tensor, value: Tensor) -> Tensor:
    """Converted numbers, and counts as they are."""
    return converted if value.is_floating_point() else value
