"""Training batches from more images than memory holds: read contiguous runs, shuffle in memory, cut.

Picking single images out of compressed shards is tens of times slower than reading runs, and a disk prefers
runs, too. Subjects are independent of each other, so runs from random places, shuffled together, serve as
well as a permutation of all. Where images are mapped into memory, a buffer is what the kernel is told to read
ahead, and its batches are copied straight out of the page cache.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from covary import rng
from covary.errors import UserError
from covary.store.arrays import Images

# Images read at once. A constant, because orders must not depend on the layout of the store.
RUN = 256

Rows = Int64[np.ndarray, " row"]
Runs = Int64[np.ndarray, " run"]
Features = Float[np.ndarray, "n feature"]  # numbers in place of images; all in memory
Buffer = tuple[Rows, Callable[[Rows], np.ndarray]]  # its rows as they come, and what gives some of them
Batch = tuple[Rows, UInt8[np.ndarray, "row c y x"] | Float[np.ndarray, "row feature"]]


class ImageLoader:
    """The batches of every epoch, in an order that depends on (seed, stream, epoch) and the buffer's size.

    It does not depend on workers, shards, chunks or compression, nor on the batch at which an epoch is taken
    up; the rows that a batch has from one buffer ascend. If the buffer holds all images, each epoch is a
    permutation of all. Otherwise buffers are filled one after another with runs from random places. Workers
    are spawned processes that decode compressed images ahead, a buffer each; the script that starts them
    needs a main guard.

    Raises UserError if a batch would hold one image: batch normalisation needs two.
    """

    def __init__(
        self,
        images: UInt8[np.ndarray, "n c y x"] | Features | Images,
        *,
        batch_size: int,
        buffer_images: int,
        seed: int,
        stream: str,
        workers: int = 0,
    ):
        if min(len(images), batch_size) < 2:
            raise UserError(f"training needs at least 2 images and a batch_size of at least 2, "
                             f"got {len(images)} and {batch_size}")  # fmt: skip
        self._n_images, self._seed, self._stream = len(images), seed, stream
        self._sizes = [
            len(part) for part in np.array_split(range(len(images)), -(-len(images) // batch_size))
        ]
        all_fit = buffer_images >= len(images)
        self._n_buffers = 1 if all_fit else -(-len(images) // max(buffer_images, RUN))
        self._mapped = images if isinstance(images, Images) and images.mapped else None
        if all_fit and self._mapped is None:
            images = images[:]
        workers = 0 if self._mapped is not None or isinstance(images, np.ndarray) else workers
        self._pending = _Pending()
        self._buffers = DataLoader(
            _Buffers(images),
            batch_size=None,
            sampler=self._pending,
            collate_fn=_as_it_is,
            num_workers=workers,
            multiprocessing_context="spawn" if workers else None,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # PyTorch would draw a seed for workers from its global one
        )

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self._sizes)

    def order(self, epoch: int) -> list[Rows]:
        """The rows of each buffer of an epoch, as they come."""
        generator = rng.generator(self._seed, self._stream, epoch)
        if self._n_buffers == 1:
            return [generator.permutation(self._n_images)]
        runs = generator.permutation(-(-self._n_images // RUN))
        rows = np.split(np.arange(self._n_images), range(RUN, self._n_images, RUN))
        return [
            generator.permutation(np.concatenate([rows[run] for run in part]))
            for part in np.array_split(runs, self._n_buffers)
        ]

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Rows and images of the batches `first …` of an epoch, nearly equal in size."""
        order = self.order(epoch)
        skipped = sum(self._sizes[:first])
        while order and skipped >= len(order[0]):
            skipped -= len(order.pop(0))
        order = [rows[skipped if i == 0 else 0 :] for i, rows in enumerate(order)]
        buffers = self._fill(order) if self._mapped is None else self._map(order)
        sizes = iter(self._sizes[first:])
        parts, lacking = [], next(sizes, 0)
        for rows, take in buffers:
            start = 0
            while start < len(rows):
                part = np.sort(rows[start : start + lacking])
                parts.append((part, take(part)))
                start += lacking
                lacking -= len(part)
                if lacking == 0:
                    yield (
                        parts[0] if len(parts) == 1 else tuple(map(np.concatenate, zip(*parts, strict=True)))
                    )
                    parts, lacking = [], next(sizes, 0)

    def _fill(self, order: Sequence[np.ndarray]) -> Iterator[Buffer]:
        """Buffers of images in memory."""
        self._pending.buffers = order
        for rows, runs, images in self._buffers:
            yield rows, partial(_take, runs, images.numpy())

    def _map(self, order: Sequence[np.ndarray]) -> Iterator[Buffer]:
        """The same of mapped images, each read ahead while the one before is used."""
        for i, rows in enumerate(order):
            for ahead in order[i + 1 : i + 2] if i else order[:2]:
                self._mapped.prefetch(np.sort(ahead))
            yield rows, self._mapped.take


class _Pending(Sampler[Rows]):
    """The buffers that the loader has yet to fill."""

    def __init__(self):
        self.buffers: Sequence[Rows] = []

    def __iter__(self) -> Iterator[Rows]:
        return iter(self.buffers)

    def __len__(self) -> int:
        return len(self.buffers)


class _Buffers(Dataset):
    """Filled buffers: the rows asked for, the runs they lie in, and the images of those runs."""

    def __init__(self, images: UInt8[np.ndarray, "n c y x"] | Features | Images):
        self._images = images

    def __getitem__(self, rows: Rows) -> tuple[Rows, Runs | None, Shaped[Tensor, "image ..."]]:
        # A tensor, because workers hand tensors over in shared memory.
        if isinstance(self._images, np.ndarray):
            return rows, None, torch.from_numpy(self._images)
        runs = np.unique(rows // RUN)
        neighbours = np.split(runs, np.flatnonzero(np.diff(runs) > 1) + 1)
        images = [self._images[int(part[0]) * RUN : int(part[-1] + 1) * RUN] for part in neighbours]
        return rows, runs, torch.from_numpy(np.concatenate(images))


def _take(runs: Runs | None, images: Shaped[np.ndarray, "image ..."], rows: Rows) -> np.ndarray:
    """Some rows of a buffer that holds these runs, or everything."""
    return images[rows if runs is None else np.searchsorted(runs, rows // RUN) * RUN + rows % RUN]


def _as_it_is(buffer: tuple) -> tuple:
    return buffer
