"""Checkpoints: the state of a training on disk, from which a killed run goes on."""

import hashlib
import logging
import math
import pickle
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import nn

from covary.config.base import Section
from covary.errors import UserError
from covary.files import whole

log = logging.getLogger(__name__)
Network = TypeVar("Network", bound=nn.Module)
History = list[dict[str, int | float]]


def fingerprint(config: Section, seed: int, *arrays: np.ndarray) -> str:
    """Digest of all that decides the outcome of a training: a checkpoint with another one is not taken up."""
    digest = hashlib.sha256(f"{config.model_dump_json()}/{seed}".encode())
    for array in arrays:
        digest.update(f"{array.dtype}/{array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


@runtime_checkable
class Stateful(Protocol):
    """Networks, optimisers, schedules and weight averages."""

    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...  # noqa: D102


class Checkpoint:
    """The state of one training on disk, replaced as a whole, so that a killed run can go on from it.

    Of the states before the newest, `checkpoint.pt`, the last keep - 1 stay as `checkpoint-<completed>.pt`.
    """

    def __init__(self, directory: Path, identity: str, *, keep: int = 1, **parts: Stateful):
        self._path = Path(directory) / "checkpoint.pt"
        self._finished = self._path.with_name("finished.pt")
        self._identity = identity
        self._keep = keep
        self._parts = parts

    def resume(self) -> tuple[int, History]:
        """Load the parts and return (completed rounds, history), or (0, []) if there is no checkpoint."""
        if not self._path.exists():
            return 0, []
        state = _load(self._path)
        if state["identity"] != self._identity:
            log.warning("%s belongs to other settings or images; training starts afresh", self._path)
            return 0, []
        for name, part in self._parts.items():
            part.load_state_dict(state["parts"][name])
        log.info("training goes on from %s after round %d", self._path, state["completed"])
        return state["completed"], state["history"]

    def write(self, completed: int, history: History) -> None:
        """Replace the checkpoint on disk.

        Raises UserError, and leaves the one before, if a loss in the last row of `history` is not finite.
        """
        for name, value in (item for row in history[-1:] for item in row.items()):
            if name.endswith("loss") and not math.isfinite(value):
                raise UserError(
                    f"training diverged: {name.replace('_', ' ')} is {value} after round {completed}; "
                    "a smaller learning_rate may help"
                )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        parts = {name: part.state_dict() for name, part in self._parts.items()}
        state = {"identity": self._identity, "completed": completed, "history": history, "parts": parts}
        with whole(self._path) as partial:
            torch.save(state, partial)
            if self._keep > 1:
                kept = self._path.with_name(f"checkpoint-{completed:09d}.pt")
                kept.unlink(missing_ok=True)
                kept.hardlink_to(partial)
        for surplus in self._kept()[: -self._keep]:
            surplus.unlink()

    def finish(self, history: History, **results: Stateful) -> None:
        """Keep what a training has ended with, and no checkpoint: the same training is not needed again."""
        parts = {name: part.state_dict() for name, part in results.items()}
        state = {"identity": self._identity, "history": history, "parts": parts}
        self._finished.parent.mkdir(parents=True, exist_ok=True)
        with whole(self._finished) as partial:
            torch.save(state, partial)
        self.discard()

    def finished(self, **results: Stateful) -> History | None:
        """Load what the same training ended with before, and return its history; None if it has not ended."""
        if not self._finished.exists():
            return None
        state = _load(self._finished)
        if state["identity"] != self._identity:
            return None
        for name, part in results.items():
            part.load_state_dict(state["parts"][name])
        log.info("the same training has ended before: %s", self._finished)
        return state["history"]

    def discard(self) -> None:
        """Remove the checkpoints of a training that has ended."""
        unfinished = self._path.parent.glob(f".{self._path.name}.*.partial")  # of trainings that were killed
        for path in (self._path, *self._kept(), *unfinished):
            path.unlink(missing_ok=True)

    def _kept(self) -> list[Path]:
        return sorted(self._path.parent.glob("checkpoint-*.pt"))


def _load(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError):
        raise UserError(f"{path}: not a checkpoint; delete it to start training afresh") from None
