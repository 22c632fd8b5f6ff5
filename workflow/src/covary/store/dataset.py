"""The Zarr v3 dataset: layout, writing whole groups and whole image shards, validation, opening."""

import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from jaxtyping import UInt8

from covary.shards import Shard
from covary.store.markers import array_sha256, read_marker, write_marker
from covary.store.parts import write_parts

log = logging.getLogger(__name__)

_PARENTS = ("longitudinal", "estimates", "predictions")


def create(
    path: Path,
    *,
    n_subjects: int,
    size_px: int,
    shard_subjects: int,
    chunk_subjects: int,
    attributes: Mapping[str, Any],
) -> dict[str, Any]:
    """Lay out an empty dataset whose image array is ready for shards; return its specification.

    The same specification again changes nothing, so a resumed run keeps what is written. Another
    specification needs another store: raises FileExistsError if one is in the way.
    """
    specification = {
        "n_subjects": n_subjects,
        "size_px": size_px,
        "shard_subjects": shard_subjects,
        "chunk_subjects": chunk_subjects,
        **attributes,
    }
    if (path / "zarr.json").exists():
        existing = dict(zarr.open_group(path, mode="r").attrs).get("specification")
        if existing == specification:
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
    shard = min(shard_subjects, -(-n_subjects // chunk_subjects) * chunk_subjects)
    images.create_array(
        "image",
        shape=(n_subjects, size_px, size_px),
        dtype="uint8",
        chunks=(chunk_subjects, size_px, size_px),
        shards=(shard, size_px, size_px),
        dimension_names=("subject", "y", "x"),
        fill_value=0,
        attributes={"long_name": "generated image", "units": "grey level 0-255"},
    )
    (path / "zarr.json").write_text(
        json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"specification": specification}})
    )
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
    array = zarr.open_array(path / "images" / "image", mode="r+")
    array[shard.start : shard.stop] = images
    write_marker(
        marker,
        {**record, "start": shard.start, "stop": shard.stop, "sha256": {"image": array_sha256(images)}},
    )


def write_group(path: Path, group: str, dataset: xr.Dataset, marker: Path, record: Mapping[str, Any]) -> None:
    """`write_parts` for a group that is in memory already: all of it, or nothing."""
    n_subjects = dataset.sizes["subject"]
    write_parts(path, group, n_subjects, lambda part: dataset.isel(subject=slice(part.start, part.stop)),
                marker, record)  # fmt: skip


def read(path: Path, group: str) -> xr.Dataset:
    """Open one group lazily, also while other groups are still being written."""
    return xr.open_zarr(path, group=group, consolidated=False, chunks=None)


def open_dataset(path: Path) -> xr.DataTree:
    """Open a finished dataset as a tree of xarray datasets, lazily."""
    return xr.open_datatree(path, engine="zarr", chunks=None)


def validate_images(path: Path, markers: list[Path], marker: Path) -> None:
    """Check that the shards' markers cover every subject once and that the images are those they describe.

    Writes one marker for all images. Raises ValueError that names the hole, overlap or shard at fault.
    """
    array = zarr.open_array(path / "images" / "image", mode="r")
    records = sorted((read_marker(m) for m in markers), key=lambda record: record["start"])
    covered = 0
    for record in records:
        start, stop = record["start"], record["stop"]
        if start != covered:
            what = "are in no shard" if start > covered else "are in two shards"
            raise ValueError(f"{path}: images {min(start, covered)} … {max(start, covered) - 1} {what}")
        if array_sha256(array[start:stop]) != record["sha256"]["image"]:
            raise ValueError(f"{path}: images {start} … {stop - 1} differ from what was written; delete "
                             "their marker to draw them again")  # fmt: skip
        covered = stop
    if covered != array.shape[0]:
        raise ValueError(f"{path}: images {covered} … {array.shape[0] - 1} are in no shard")
    hashes = "".join(record["sha256"]["image"] for record in records)
    write_marker(marker, {"images": covered, "sha256": hashlib.sha256(hashes.encode()).hexdigest()})


def finalise(path: Path, markers: list[Path], manifest: Path) -> None:
    """Check every group against its marker, consolidate the metadata and write the manifest.

    Raises ValueError that names the group and variable whose values are not those that were written.
    """
    entries = {}
    for marker in sorted(markers):
        record = read_marker(marker)
        if "group" in record:
            dataset = read(path, record["group"])
            for name, expected in record["sha256"].items():
                if array_sha256(dataset[name].values) != expected:
                    raise ValueError(f"{path}: {record['group']}/{name} differs from what was written")
        entries[record.get("group", "images")] = record["sha256"]
    with warnings.catch_warnings():
        # Readers without consolidated metadata ignore it and list the groups themselves.
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
        zarr.consolidate_metadata(path)
    digest = hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
    write_marker(manifest, {"groups": entries, "sha256": digest})
    log.info("dataset %s is complete: %d groups, manifest %s", path, len(entries), digest[:16])
