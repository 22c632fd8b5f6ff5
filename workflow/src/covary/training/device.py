"""The device that torch computes on, its precision and its threads."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import nn

from covary.jobs import gpu
from covary.training.checkpoint import Network


def choose_device() -> torch.device:
    """The GPU if there is one, this job's own if there are several, else the CPU."""
    gpu.claim()
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def mixed_precision(device: torch.device, wanted: bool = True) -> contextlib.AbstractContextManager:
    """bfloat16 autocast on a GPU if wanted (speed: benchmarks/README.md, GPU), float32 on the CPU."""
    if device.type == "cuda" and wanted:
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Compute on so many CPU threads, whatever the machine has; also a decorator.

    Sums are split over threads, so weights trained on another number of threads differ in the last bits, and
    after many steps visibly. What runs beside other jobs takes one: two that wait for each other on a busy
    core take longer than one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
    unsafe = any(map(_overflows, network.modules()))
    layout = torch.contiguous_format if unsafe else torch.channels_last
    return network.to(choose_device(), memory_format=layout)


def _overflows(layer: nn.Module) -> bool:
    """Whether a layer must not have channels last: strided 1 x 1 convolutions of few channels.

    On processors with AVX2 and without AVX-512, oneDNN (PyTorch 2.15) writes beyond its memory in their
    gradient, and the process dies.
    """
    return (
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and layer.stride != (1, 1)
        and layer.in_channels % 8 != 0
    )


def device_of(network: nn.Module) -> torch.device:
    """Where the weights of a network are."""
    return next(network.parameters()).device
