"""Uncompressed images mapped into memory: the page cache is the buffer, and nothing is decoded."""

import mmap
from itertools import pairwise
from pathlib import Path

import numpy as np
import zarr
from jaxtyping import Int64, UInt8

from covary.errors import UserError

# An entry of the index at the end of a shard, one for each chunk; a checksum follows.
_ENTRY = np.dtype([("offset", "<u8"), ("length", "<u8")])
_CHECKSUM_BYTES = 4


def shard_shape(images: zarr.Array) -> tuple[int, ...]:
    """The shape of a shard. Raises ValueError if the array has no shards."""
    if images.shards is None:
        raise ValueError(f"{images.path} has no shards")
    return images.shards


class MappedImages:
    """The images of an array of uncompressed shards, each mapped when it is first needed."""

    def __init__(self, array: zarr.Array, folder: Path):
        self._folder = folder
        self._n_images, *self._shape = array.shape
        self._shard, self._chunk = shard_shape(array)[0], array.chunks[0]
        self._image_bytes = int(np.prod(self._shape))
        self._maps: dict[int, mmap.mmap] = {}

    def take(self, rows: Int64[np.ndarray, " row"]) -> UInt8[np.ndarray, "row channel y x"]:
        """The images of ascending rows. Raises UserError that names a shard which is not as written."""
        images = np.empty((len(rows), *self._shape), np.uint8)
        for shard, part in self._by_shard(rows):
            start = shard * self._shard
            n_bytes = self._length(shard) * self._image_bytes
            source = np.frombuffer(self._mapped(shard), np.uint8, n_bytes).reshape(-1, *self._shape)
            # Rows are in range; NumPy would copy once more to find out.
            np.take(source, rows[part] - start, axis=0, out=images[part], mode="clip")
        return images

    def prefetch(self, rows: Int64[np.ndarray, " row"]) -> None:
        """Have the kernel read ascending rows, without waiting for it."""
        for shard, part in self._by_shard(rows):
            places = rows[part] - shard * self._shard
            for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
                start = int(run[0]) * self._image_bytes // mmap.PAGESIZE * mmap.PAGESIZE
                stop = (int(run[-1]) + 1) * self._image_bytes
                self._mapped(shard).madvise(mmap.MADV_WILLNEED, start, stop - start)

    def _by_shard(self, rows: Int64[np.ndarray, " row"]) -> list[tuple[int, slice]]:
        shards, first = np.unique(rows // self._shard, return_index=True)
        bounds = pairwise([*first.tolist(), len(rows)])
        return [(shard, slice(*bound)) for shard, bound in zip(shards.tolist(), bounds, strict=True)]

    def _length(self, shard: int) -> int:
        return min(self._shard, self._n_images - shard * self._shard)

    def _mapped(self, shard: int) -> mmap.mmap:
        if shard not in self._maps:
            file = self._folder / "c" / str(shard) / "0" / "0" / "0"
            n_chunks = -(-self._length(shard) // self._chunk)
            self._maps[shard] = _map(
                file, n_chunks, self._shard // self._chunk, self._chunk * self._image_bytes
            )
        return self._maps[shard]


def _map(file: Path, n_chunks: int, index_chunks: int, chunk_bytes: int) -> mmap.mmap:
    """Map a shard file whose first chunks lie one after another from its beginning, and which says so."""
    try:
        with file.open("rb") as opened:
            mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: not a readable shard of images ({error})") from None
    index_start = len(mapped) - index_chunks * _ENTRY.itemsize - _CHECKSUM_BYTES
    if index_start >= n_chunks * chunk_bytes:
        index = np.frombuffer(mapped, _ENTRY, n_chunks, index_start)
        in_order = np.array_equal(index["offset"], np.arange(n_chunks) * chunk_bytes)
        if in_order and (index["length"] == chunk_bytes).all():
            return mapped
    raise UserError(f"{file}: its {n_chunks} chunks of images are not all there, one after another")
