"""The Zarr v3 dataset: layout, writing of whole groups and whole image shards, opening."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from jaxtyping import UInt8

from covary.shards import Shard
from covary.store.files import flush, reopen, replace_json
from covary.store.markers import array_sha256, write_marker
from covary.store.parts import write_parts

_PARENTS = ("longitudinal", "estimates", "predictions")


def create(
    path: Path, *, size_px: int, shard_subjects: int, chunk_subjects: int, attributes: Mapping[str, Any]
) -> dict[str, Any]:
    """Lay out an empty dataset whose image array is ready for shards; return its specification.

    The number of subjects is no part of it: the array ends where `set_end` says, and shards may come before.
    The same specification again changes nothing, so a resumed run keeps what is written. Another
    specification needs another store: raises FileExistsError if one is in the way.
    """
    specification = {
        "size_px": size_px,
        "shard_subjects": shard_subjects,
        "chunk_subjects": chunk_subjects,
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
    for parent in _PARENTS:
        zarr.create_group(store=path / parent, zarr_format=3)
    images = zarr.create_group(
        store=path / "images", zarr_format=3, attributes={"long_name": "generated images"}
    )
    images.create_array(
        "image",
        shape=(0, size_px, size_px),
        dtype="uint8",
        chunks=(chunk_subjects, size_px, size_px),
        shards=(shard_subjects, size_px, size_px),
        dimension_names=("subject", "y", "x"),
        fill_value=0,
        attributes={"long_name": "generated image", "units": "grey level 0-255"},
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
    images: UInt8[np.ndarray, "subject y x"],
    marker: Path,
    record: Mapping[str, Any],
) -> None:
    """Write one whole shard of images, then its marker.

    Raises ValueError if the number of images is not the shard's.
    """
    if len(images) != len(shard):
        raise ValueError(f"shard {shard.index}: expected {len(shard)} images, got {len(images)}")
    reopen(path)
    array = zarr.open_array(path / "images" / "image", mode="r+")
    file = path / shard_file(shard.start, array.shards[0])
    file.unlink(missing_ok=True)  # Zarr would merge into what is there, damaged or not
    reaching = array.metadata.update_shape((shard.stop, *array.shape[1:]))
    zarr.Array(zarr.AsyncArray(reaching, array.store_path))[shard.start : shard.stop] = images
    flush(file)
    hashes = {"image": array_sha256(images)}
    write_marker(marker, {**record, "start": shard.start, "stop": shard.stop, "sha256": hashes})


def set_end(path: Path, n_subjects: int) -> None:
    """Let the array of images end after so many subjects; shards stay, also those that now lie beyond."""
    metadata = path / "images" / "image" / "zarr.json"
    array = json.loads(metadata.read_text())
    if array["shape"][0] != n_subjects:
        array["shape"][0] = n_subjects
        reopen(path)
        replace_json(metadata, array)


def write_group(path: Path, group: str, dataset: xr.Dataset, marker: Path, record: Mapping[str, Any]) -> None:
    """`write_parts` for a group that is in memory already: all of it, or nothing."""
    n_subjects = dataset.sizes["subject"]
    write_parts(path, group, n_subjects, lambda part: dataset.isel(subject=slice(part.start, part.stop)),
                marker, record)  # fmt: skip


def read(path: Path, group: str) -> xr.Dataset:
    """Open one group lazily, also while other groups are still being written."""
    return xr.open_zarr(path, group=group, consolidated=False, chunks=None)


class Images:
    """The images of consecutive subjects, read slice by slice; can be sent to another process.

    `digest` stands for the content where a hash of it is needed, say in the identity of a checkpoint.
    """

    def __init__(self, path: Path, subjects: slice, digest: str):
        self._array = zarr.open_array(path / "images" / "image", mode="r")
        self._subjects = range(self._array.shape[0])[subjects]
        self.digest = digest

    def __len__(self) -> int:
        return len(self._subjects)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Images, rows and columns."""
        return (len(self), *self._array.shape[1:])

    def __getitem__(self, rows: slice) -> UInt8[np.ndarray, "image y x"]:
        part = self._subjects[rows]
        return self._array[part.start : part.stop]


def open(path: Path) -> xr.DataTree:
    """Open a finished dataset as a tree of xarray datasets, lazily.

    Raises ValueError if there is none or it is not finished.
    """
    try:
        return xr.open_datatree(path, engine="zarr", consolidated=True, chunks=None)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a finished dataset ({' '.join(str(error).split())})") from None


def shard_file(start: int, shard_subjects: int) -> str:
    """The file, relative to the dataset, that holds the shard of images whose first subject is `start`."""
    return f"images/image/c/{start // shard_subjects}/0/0"
