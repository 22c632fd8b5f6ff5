"""What the three trainings share: device, keyed draws, checkpoints, progress bars and weight files."""

import contextlib
import hashlib
import json
import logging
import math
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from covary import gpu, rng
from covary.config import Section

log = logging.getLogger(__name__)
Network = TypeVar("Network", bound=nn.Module)
History = list[dict[str, int | float]]

_CONFIG_FILE = "config.json"
_WEIGHTS_FILE = "weights.safetensors"


def choose_device() -> torch.device:
    """The GPU if there is one, this job's own if there are several, else the CPU."""
    gpu.claim()
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def mixed_precision(device: torch.device, wanted: bool = True) -> contextlib.AbstractContextManager:
    """bfloat16 autocast on a GPU if wanted (not measured), float32 on the CPU."""
    if device.type == "cuda" and wanted:
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def fixed_threads(count: int = 2) -> Iterator[None]:
    """Compute on so many CPU threads, whatever the machine has; also a decorator.

    Sums are split over threads, so weights trained on another number of threads differ in the last bits, and
    after many steps visibly. What runs beside other jobs takes one, the rest two.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def seeded(seed: int, name: str) -> Iterator[None]:
    """Draws of torch inside are keyed by (seed, name); outside, its global generator is as before."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(rng.stream_key(seed, name))
        yield


def keyed_generator(seed: int, name: str, step: int) -> torch.Generator:
    """A generator on the CPU that belongs to one training step: a resumed run needs no generator state."""
    return torch.Generator().manual_seed(rng.stream_key(seed, name, step))


def shuffled_batches(
    seed: int, name: str, epoch: int, n: int, batch_size: int
) -> list[Int64[np.ndarray, " batch"]]:
    """The numbers 0 … n - 1 in this epoch's order, cut into nearly equal batches of at most `batch_size`.

    Raises ValueError if a batch would hold one image: batch normalisation needs two.
    """
    if min(n, batch_size) < 2:
        raise ValueError(
            f"training needs at least 2 images and a batch_size of at least 2, got {n} and {batch_size}"
        )
    order = rng.generator(seed, name, epoch).permutation(n)
    return np.array_split(order, -(-n // batch_size))


def to_unit_range(images: UInt8[np.ndarray, "n h w"], device: torch.device) -> Float[Tensor, "n 1 h w"]:
    """Grey levels 0 … 255 as floats 0 … 1 with a channel axis."""
    return torch.tensor(images).to(device).unsqueeze(1).float() / 255


def to_grey(x: Float[Tensor, "n 1 h w"]) -> UInt8[np.ndarray, "n h w"]:
    """Values 0 … 1, clipped, as grey levels 0 … 255."""
    return (x.clamp(0, 1) * 255).round().to(torch.uint8).squeeze(1).cpu().numpy()


def epoch_schedule(
    optimiser: torch.optim.Optimizer, kind: Literal["cosine", "constant"], epochs: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """What the learning rate is multiplied by, epoch by epoch: cosine falls from 1 towards 0."""
    if kind == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=epochs)
    return torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)


def progress(total: int, done: int, label: str, *, hidden: bool = False) -> tqdm:
    """A progress bar that starts at `done`; in a log file it writes at most two lines a minute."""
    return tqdm(
        disable=hidden,
        total=total,
        initial=done,
        desc=label,
        file=sys.stderr,
        mininterval=0.2 if sys.stderr.isatty() else 30,
        dynamic_ncols=True,
    )


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
        self._identity = identity
        self._keep = keep
        self._parts = parts

    def resume(self) -> tuple[int, History]:
        """Load the parts and return (completed rounds, history), or (0, []) if there is no checkpoint."""
        if not self._path.exists():
            return 0, []
        try:
            state = torch.load(self._path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError):
            raise ValueError(f"{self._path}: not a checkpoint; delete it to start training afresh") from None
        if state["identity"] != self._identity:
            log.warning("%s belongs to other settings or images; training starts afresh", self._path)
            return 0, []
        for name, part in self._parts.items():
            part.load_state_dict(state["parts"][name])
        log.info("training goes on from %s after round %d", self._path, state["completed"])
        return state["completed"], state["history"]

    def write(self, completed: int, history: History) -> None:
        """Replace the checkpoint on disk.

        Raises ValueError, and leaves the one before, if a loss in the last row of `history` is not finite.
        """
        for name, value in (item for row in history[-1:] for item in row.items()):
            if name.endswith("loss") and not math.isfinite(value):
                raise ValueError(
                    f"training diverged: {name.replace('_', ' ')} is {value} after round {completed}; "
                    "a smaller learning_rate may help"
                )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        parts = {name: part.state_dict() for name, part in self._parts.items()}
        state = {"identity": self._identity, "completed": completed, "history": history, "parts": parts}
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        if self._keep > 1:
            kept = self._path.with_name(f"checkpoint-{completed:09d}.pt")
            kept.unlink(missing_ok=True)
            kept.hardlink_to(partial)
        partial.replace(self._path)
        for surplus in self._kept()[: -self._keep]:
            surplus.unlink()

    def discard(self) -> None:
        """Remove the checkpoints of a training that has ended."""
        for path in (self._path, *self._kept()):
            path.unlink(missing_ok=True)

    def _kept(self) -> list[Path]:
        return sorted(self._path.parent.glob("checkpoint-*.pt"))


class SavedModule(nn.Module):
    """A network that is stored as the arguments of its constructor and a safetensors file of weights."""

    def __init__(self, **arguments: int | str):
        # Not super(): a subclass may have a network of another library as its second base.
        nn.Module.__init__(self)
        self.arguments = arguments

    def save(self, directory: Path) -> None:
        """Write config.json and weights.safetensors into `directory`."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, directory / _WEIGHTS_FILE)
        (directory / _CONFIG_FILE).write_text(json.dumps(self.arguments, indent=2) + "\n")

    @classmethod
    def load(cls: type[Network], directory: Path) -> Network:
        """Read what `save` wrote, in evaluation mode. Raises ValueError naming a missing file."""
        directory = Path(directory)
        for name in (_CONFIG_FILE, _WEIGHTS_FILE):
            if not (directory / name).is_file():
                raise ValueError(
                    f"{directory / name}: no such file; expected the weights of a {cls.__name__}"
                )
        network = cls(**json.loads((directory / _CONFIG_FILE).read_text()))
        network.load_state_dict(load_file(directory / _WEIGHTS_FILE))
        return place(network).eval()


def launch(function: Callable[[], None], processes: int) -> None:
    """Run a function in so many processes that accelerate makes one training of, at most one a GPU.

    The function must make its networks itself; with one process it is simply called.
    """
    processes = min(processes, torch.cuda.device_count())
    if processes <= 1:
        function()
        return
    from accelerate import notebook_launcher

    notebook_launcher(function, num_processes=processes)


def is_main_process() -> bool:
    """Whether this is the one process that writes files."""
    from accelerate import PartialState

    return PartialState().is_main_process


def place(network: Network) -> Network:
    """Move a network to the device in use, in the memory layout that convolutions are fastest in."""
    return network.to(choose_device(), memory_format=torch.channels_last)


def device_of(network: nn.Module) -> torch.device:
    """Where the weights of a network are."""
    return next(network.parameters()).device
