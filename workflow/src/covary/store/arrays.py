"""The Zarr v3 dataset: layout, writing of whole groups and whole image shards, opening."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
import zarr
from jaxtyping import Int64, UInt8
from zarr.codecs import ZstdCodec

from covary.dataset import names
from covary.dataset.shards import Shard
from covary.errors import UserError
from covary.files import flush
from covary.store.files import reopen, replace_json
from covary.store.mapped import MappedImages, shard_shape
from covary.store.markers import array_sha256, images_sha256, write_marker
from covary.store.parts import write_parts, write_whole


def create(
    path: Path,
    *,
    size_px: int,
    channels: Sequence[str],
    shard_subjects: int,
    chunk_subjects: int,
    attributes: Mapping[str, Any],
    compression: Literal["zstd"] | None = None,
) -> dict[str, Any]:
    """Lay out an empty dataset whose image array is ready for shards; return its specification.

    Every image has `size_px` rows and columns and the `channels` of these names.
    The number of subjects is no part of it: the array ends where `set_end` says, and shards may come before.
    The same specification again changes nothing, so a resumed run keeps what is written. Another
    specification needs another store: raises FileExistsError if one is in the way.
    """
    specification = {
        "size_px": size_px,
        "channels": list(channels),
        "shard_subjects": shard_subjects,
        "chunk_subjects": chunk_subjects,
        "compression": compression,
        **attributes,
    }
    if (path / "zarr.json").exists():
        if dict(zarr.open_group(path, mode="r").attrs).get("specification") == specification:
            return specification
        raise FileExistsError(
            f"{path}: holds a dataset made to another specification; move or delete it first"
        )
    # The root's metadata comes last: a store without it was never finished and may be laid out again.
    shutil.rmtree(path, ignore_errors=True)
    for parent in names.PARENTS:
        zarr.create_group(store=path / parent, zarr_format=3)
    images = zarr.create_group(
        store=path / names.IMAGES, zarr_format=3, attributes={"long_name": "generated images"}
    )
    channel_names = images.create_array(
        "channel",
        shape=(len(channels),),
        dtype="string",
        dimension_names=("channel",),
        attributes={"long_name": "channel of the image", "units": "1"},
    )
    channel_names[:] = np.array(channels, dtype=object)
    image = (len(channels), size_px, size_px)
    images.create_array(
        "image",
        shape=(0, *image),
        dtype="uint8",
        chunks=(chunk_subjects, *image),
        shards=(shard_subjects, *image),
        compressors=ZstdCodec() if compression else None,
        dimension_names=("subject", "channel", "y", "x"),
        fill_value=0,
        attributes={"long_name": "generated image", "units": "0-255"},
    )
    root = {"zarr_format": 3, "node_type": "group", "attributes": {"specification": specification}}
    replace_json(path / "zarr.json", root)
    return specification


def set_aside(path: Path) -> Path | None:
    """Rename a dataset out of the way so that nothing is lost; return its new path, if there was one."""
    if not path.exists():
        return None
    kept = next(
        p for i in range(1, 10_000) if not (p := path.with_name(f"{path.stem}.previous-{i}.zarr")).exists()
    )
    return path.rename(kept)


def write_image_shard(
    path: Path,
    shard: Shard,
    images: UInt8[np.ndarray, "subject channel y x"],
    marker: Path,
    record: Mapping[str, Any],
) -> None:
    """Write one whole shard of images, then its marker.

    Raises ValueError if the number of images is not the shard's.
    """
    if len(images) != len(shard):
        raise ValueError(f"shard {shard.index}: expected {len(shard)} images, got {len(images)}")
    reopen(path)
    array = zarr.open_array(path / names.IMAGES / "image", mode="r+")
    file = path / shard_file(array, shard.start)
    file.unlink(missing_ok=True)  # Zarr would merge into what is there, damaged or not
    reaching = array.metadata.update_shape((shard.stop, *array.shape[1:]))
    # Black chunks are written, too. Code that maps a shard into memory expects each chunk at its place.
    extended = zarr.AsyncArray(reaching, array.store_path, config={"write_empty_chunks": True})  # type: ignore[call-overload]
    zarr.Array(extended)[shard.start : shard.stop] = images
    flush(file)
    hashes = {"image": array_sha256(images)}
    write_marker(marker, {**record, "start": shard.start, "stop": shard.stop, "sha256": hashes})


def set_end(path: Path, n_subjects: int) -> None:
    """Let the array of images end after so many subjects; shards stay, also those that now lie beyond."""
    metadata = path / names.IMAGES / "image" / "zarr.json"
    array = json.loads(metadata.read_text())
    if array["shape"][0] != n_subjects:
        array["shape"][0] = n_subjects
        reopen(path)
        replace_json(metadata, array)


def write_group(path: Path, group: str, dataset: xr.Dataset, marker: Path, record: Mapping[str, Any]) -> None:
    """Write a group that is in memory already: all of it, or nothing; then its marker."""
    if "subject" not in dataset.sizes:
        write_whole(path, group, dataset, marker, record)
        return
    n_subjects = dataset.sizes["subject"]
    write_parts(path, group, n_subjects, lambda part: dataset.isel(subject=slice(part.start, part.stop)),
                marker, record)  # fmt: skip


def read(path: Path, group: str) -> xr.Dataset:
    """Open one group lazily, also while other groups are still being written."""
    return xr.open_zarr(path, group=group, consolidated=False, chunks=None)


class Images:
    """The images of consecutive subjects, read when asked for; can be sent to another process.

    `digest` stands for the content where a hash of it is needed, say in the identity of a checkpoint.
    `mapped` says whether they are uncompressed and mapped into memory, so that picking single ones is cheap.
    """

    def __init__(self, path: Path, subjects: slice, digest: str):
        folder = path / names.IMAGES / "image"
        self._array = zarr.open_array(folder, mode="r")
        self._subjects = range(self._array.shape[0])[subjects]
        self._source = (path, subjects, digest)
        self._mapped = None if self._array.compressors else MappedImages(self._array, folder)
        self.digest = digest

    @classmethod
    def of(cls, path: Path, subjects: slice, marker: Path) -> "Images":
        """The images of some subjects; `marker` is that of all images."""
        array = zarr.open_array(path / names.IMAGES / "image", mode="r")
        return cls(path, subjects, images_sha256(array, marker, subjects))

    def __reduce__(self):
        return Images, self._source  # a mapping does not leave its process

    def __len__(self) -> int:
        return len(self._subjects)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Images, channels, rows and columns."""
        n_channels, height, width = self._array.shape[1:]
        return len(self), n_channels, height, width

    @property
    def mapped(self) -> bool:
        """Whether `take` and `prefetch` can be used."""
        return self._mapped is not None

    def __getitem__(self, rows: slice) -> UInt8[np.ndarray, "image channel y x"]:
        part = self._subjects[rows]
        if self._mapped is None:
            return np.asarray(self._array[part.start : part.stop])
        return self._mapped.take(np.arange(part.start, part.stop))

    def take(self, rows: Int64[np.ndarray, " row"]) -> UInt8[np.ndarray, "row channel y x"]:
        """The images of ascending rows."""
        return self._maps().take(rows + self._subjects.start)

    def prefetch(self, rows: Int64[np.ndarray, " row"]) -> None:
        """Have ascending rows read ahead, without waiting for them."""
        self._maps().prefetch(rows + self._subjects.start)

    def _maps(self) -> MappedImages:
        if self._mapped is None:
            raise ValueError("single images can be picked from uncompressed images only")
        return self._mapped


def open(path: Path) -> xr.DataTree:
    """Open a finished dataset as a tree of xarray datasets, lazily.

    Raises ValueError if there is none or it is not finished.
    """
    try:
        return xr.open_datatree(path, engine="zarr", consolidated=True, chunks=None)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a finished dataset ({' '.join(str(error).split())})") from None


def shard_file(images: zarr.Array, start: int) -> str:
    """The file, relative to the dataset, that holds the shard of images whose first subject is `start`."""
    return f"{names.IMAGES}/image/c/{start // shard_shape(images)[0]}/0/0/0"
