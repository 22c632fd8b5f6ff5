"""Draws of torch that are keyed by seed, name and step."""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Int64

from covary import rng
from covary.errors import UserError


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

    Raises UserError if a batch would hold one image: batch normalisation needs two.
    """
    if min(n, batch_size) < 2:
        raise UserError(
            f"training needs at least 2 images and a batch_size of at least 2, got {n} and {batch_size}"
        )
    order = rng.generator(seed, name, epoch).permutation(n)
    return np.array_split(order, -(-n // batch_size))
