"""Check the store against its markers, write the manifest of a finished dataset, and verify a dataset."""

import hashlib
import json
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from covary.dataset import names
from covary.errors import UserError
from covary.store.arrays import read, set_end, shard_file
from covary.store.markers import little_endian, read_marker, write_marker

log = logging.getLogger(__name__)

_BLOCK_BYTES = 2**26  # read into memory at once
# What zarr and its codecs raise when stored bytes cannot be decoded.
_DECODING_ERRORS = (RuntimeError, ValueError, OSError)


def validate_images(path: Path, n_subjects: int, markers: list[Path], marker: Path) -> None:
    """Check that the shards' markers cover every subject once and that their hashes are those of the images.

    Sets the length of the array of images and writes one marker for all images. Raises UserError with a line
    for each hole, overlap or shard at fault.
    """
    records = sorted((read_marker(file) for file in markers), key=lambda record: record["start"])
    shards = [
        {"start": record["start"], "stop": record["stop"], "sha256": record["sha256"]["image"]}
        for record in records
    ]
    set_end(path, n_subjects)
    digest, faults = _check_images(path, shards)
    if faults:
        raise UserError("\n".join(f"{fault}; delete its marker to draw it again" for fault in faults))
    write_marker(marker, {"group": names.IMAGES, "sha256": {"image": digest}, "shards": shards})


def finalise(path: Path, markers: Iterable[Path], manifest: Path, attributes: Mapping[str, Any]) -> None:
    """Check every group against its marker, consolidate the metadata and write the manifest.

    The images are not read again, because `validate_images` has checked them. `attributes` are written to the
    root of the dataset. Raises UserError with a line for each variable at fault: values that are not those
    that were written, a wrong number of subjects, or NaN that no `status` explains.
    """
    n_subjects = zarr.open_array(path / names.IMAGES / "image", mode="r").shape[0]
    groups, shards, faults = {}, [], []
    missing: dict[str, int] = {}
    for marker in sorted(markers):
        record = read_marker(marker)
        group = record["group"]
        groups[group] = record["sha256"]
        if group == names.IMAGES:
            shards = record["shards"]
            continue
        dataset = read(path, group)
        faults += _check_group(path, group, dataset, record["sha256"])
        if dataset.sizes.get("subject", n_subjects) != n_subjects and "subject" not in dataset.coords:
            faults.append(f"{path}: {group} holds {dataset.sizes['subject']} subjects, expected {n_subjects}")
        missing |= {f"{group}/{name}": count for name, count in _count_missing(dataset).items()}
        faults += [
            f"{path}: {group}/{name} holds NaN for subject {subject}, whose status does not say why"
            for name, subject in _unexplained(dataset).items()
        ]
    if faults:
        raise UserError("\n".join(faults))
    if extra := _groups(path) - groups.keys():
        log.warning("%s also holds %s, of another configuration; the manifest leaves them out", path,
                    ", ".join(sorted(extra)))  # fmt: skip
    digest = _digest(groups)
    for partial in path.rglob("*.partial"):  # of writers that were killed
        partial.unlink()
    zarr.open_group(path, mode="r+").attrs.update({**attributes, "manifest_sha256": digest})
    with warnings.catch_warnings():
        # Readers without consolidated metadata ignore it and list the groups themselves.
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
        zarr.consolidate_metadata(path)
    write_marker(manifest, {"groups": groups, "missing": missing, "shards": shards, "sha256": digest})
    log.info("dataset %s is complete: %d groups, manifest %s", path, len(groups), digest[:16])


def verify(path: Path, manifest: Path) -> list[str]:
    """Compare a finished or downloaded dataset with its manifest. Returns one line for each fault.

    Raises UserError if the manifest cannot be read.
    """
    record = read_marker(manifest)
    groups = record.get("groups")
    if not isinstance(groups, dict) or not isinstance(record.get("shards"), list):
        raise UserError(f"{manifest}: not a manifest of a dataset")
    if _digest(groups) != record["sha256"]:
        return [f"{manifest}: was changed: its own sha256 is not that of its entries"]
    faults = []
    for group, hashes in groups.items():
        try:
            if group == names.IMAGES:
                digest, found = _check_images(path, record["shards"])
                faults += found
                if not found and digest != hashes["image"]:
                    faults.append(f"{path}: images/image differs from what was written")
            else:
                faults += _check_group(path, group, read(path, group), hashes)
        except (*_DECODING_ERRORS, KeyError) as error:
            faults.append(f"{path}: {group} cannot be read ({' '.join(str(error).split())})")
    faults += [f"{path}: {group} is not in the manifest" for group in sorted(_groups(path) - groups.keys())]
    return faults


def _check_images(path: Path, shards: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """SHA-256 of all images in order, and one line for each gap, overlap, or shard that differs."""
    array = zarr.open_array(path / names.IMAGES / "image", mode="r")
    whole, faults, covered = hashlib.sha256(), [], 0
    for shard in shards:
        start, stop = shard["start"], shard["stop"]
        if start != covered:
            what = "are in no shard" if start > covered else "are in two shards"
            faults.append(f"{path}: images {min(start, covered)} … {max(start, covered) - 1} {what}")
        covered = stop
        file = shard_file(array, start)
        part = hashlib.sha256()
        try:
            for block in _blocks(array, start, stop):
                part.update(block)
                whole.update(block)
            fault = None if part.hexdigest() == shard["sha256"] else "differs from what was written"
        except _DECODING_ERRORS:
            fault = "is damaged"
        if fault:
            fault = fault if (path / file).exists() else "is missing"
            faults.append(f"{path}: shard {file} with images {start} … {stop - 1} {fault}")
    if covered != array.shape[0]:
        faults.append(f"{path}: images {covered} … {array.shape[0] - 1} are in no shard")
    return whole.hexdigest(), faults


def _check_group(path: Path, group: str, dataset: xr.Dataset, expected: Mapping[str, str]) -> list[str]:
    faults = []
    for name, digest in expected.items():
        if name not in dataset.variables:
            faults.append(f"{path}: {group}/{name} is missing")
            continue
        variable = dataset.variables[name]
        found = hashlib.sha256()
        try:
            for block in _blocks(variable, 0, variable.shape[0]):
                found.update(block)
            fault = None if found.hexdigest() == digest else "differs from what was written"
        except _DECODING_ERRORS:
            fault = "is damaged"
        if fault:
            faults.append(f"{path}: {group}/{name} {fault}")
    return faults


def _blocks(array: zarr.Array | xr.Variable, start: int, stop: int) -> Iterator[memoryview]:
    """The decoded bytes of `array[start:stop]`, little-endian in C order, in blocks of rows."""
    row_bytes = array.dtype.itemsize * int(np.prod(array.shape[1:]))
    rows = max(1, _BLOCK_BYTES // max(1, row_bytes))
    if isinstance(array, zarr.Array):
        rows = -(-rows // array.chunks[0]) * array.chunks[0]
    for i in range(start, stop, rows):
        yield little_endian(np.asarray(array[i : min(i + rows, stop)])).data


def _count_missing(dataset: xr.Dataset) -> dict[str, int]:
    """How many subjects have NaN, for each variable that has any."""
    counts = {str(name): len(_missing(variable)) for name, variable in dataset.data_vars.items()}
    return {name: count for name, count in counts.items() if count}


def _unexplained(dataset: xr.Dataset) -> dict[str, int]:
    """For each variable, the first subject that has NaN though its `status` says success.

    Where `present` is 0, a visit did not take place and has no value.
    """
    fine = (
        dataset["status"].values == dataset["status"].attrs["flag_values"][0] if "status" in dataset else None
    )
    found = {}
    for name, variable in dataset.data_vars.items():
        if "present" in dataset and variable.dims == dataset["present"].dims:
            variable = variable.where(dataset["present"] != 0, 0)
        subjects = _missing(variable)
        unexplained = subjects if fine is None else subjects[fine[subjects]]
        if len(unexplained):
            found[str(name)] = int(unexplained[0])
    return found


def _missing(variable: xr.DataArray) -> np.ndarray:
    """The rows that hold NaN."""
    if not np.issubdtype(variable.dtype, np.floating):
        return np.zeros(0, int)
    return np.flatnonzero(np.isnan(variable.values).reshape(len(variable), -1).any(axis=1))


def _groups(path: Path) -> set[str]:
    """The groups of the store that hold variables."""
    return {str(array.parents[1].relative_to(path)) for array in path.rglob("zarr.json") if _is_array(array)}


def _is_array(metadata: Path) -> bool:
    return json.loads(metadata.read_text(encoding="utf-8"))["node_type"] == "array"


def _digest(groups: Mapping[str, Mapping[str, str]]) -> str:
    return hashlib.sha256(json.dumps(groups, sort_keys=True).encode()).hexdigest()
