"""Write a group part by part: bounded memory, a progress bar, and a killed job goes on where it was."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from covary.dataset.shards import Shard, partition
from covary.errors import UserError
from covary.files import flush
from covary.jobs.progress import progress
from covary.store.files import reopen
from covary.store.markers import array_sha256, little_endian, write_marker

log = logging.getLogger(__name__)

PART_SUBJECTS = 65_536  # one chunk, and one file a variable, in every group of records


def write_parts(
    path: Path,
    group: str,
    n_subjects: int,
    compute: Callable[[Shard], xr.Dataset],
    marker: Path,
    record: Mapping[str, Any],
    *,
    part_subjects: int = PART_SUBJECTS,
) -> None:
    """Write a group whose variables have the subject as first dimension, then its marker.

    `compute(part)` returns the rows of the subjects `part.start … part.stop - 1`; values must not depend on
    the part. What an earlier run with the same `record` finished, and what still hashes to what it
    wrote, is kept. Every variable must carry `long_name` and `units`: raises ValueError if one does not.
    """
    parts = partition(n_subjects, part_subjects)
    journal = marker.with_name(f".{marker.name}.parts")
    heading = json.dumps({**record, "n_subjects": n_subjects, "part_subjects": part_subjects}, sort_keys=True)
    hashes = _finished(path / group, journal, heading, parts)
    digests: dict[str, Any] = {}
    if hashes:
        log.info("%s: goes on after %d of %d parts", group, len(hashes), len(parts))
    bar = progress(len(parts), 0, f"{group} (parts)", hidden=len(parts) == 1)
    for part in parts:
        if part.index < len(hashes):
            values = _stored(path / group, hashes[part.index], part)
        else:
            rows = compute(part)
            if part.index == 0:
                reopen(path)
                journal.parent.mkdir(parents=True, exist_ok=True)
                journal.unlink(missing_ok=True)
                _lay_out(path, group, rows, n_subjects, part_subjects, record)
                journal.write_text(heading + "\n", encoding="utf-8")
            values = {name: variable.values for name, variable in _of_subjects(rows).items()}
            for name, block in values.items():
                zarr.open_array(path / group / name, mode="r+")[part.start : part.stop] = block
            with journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps({name: array_sha256(block) for name, block in values.items()}) + "\n")
        for name, block in values.items():
            digests.setdefault(name, hashlib.sha256()).update(little_endian(block).data)
        bar.update()
    bar.close()
    sha256 = {name: digest.hexdigest() for name, digest in digests.items()}
    for name, array in zarr.open_group(path / group, mode="r").arrays():  # what all subjects share
        if name not in sha256:
            sha256[name] = array_sha256(np.asarray(array[...]))
    flush(path / group)
    write_marker(marker, {**record, "group": group, "sha256": sha256})
    journal.unlink()


def write_whole(path: Path, group: str, dataset: xr.Dataset, marker: Path, record: Mapping[str, Any]) -> None:
    """Write a group without subjects, then its marker. Raises ValueError as `write_parts` does."""
    _check_attributes(group, dataset)
    reopen(path)
    dataset.assign_attrs(record).to_zarr(path, group=group, mode="w", zarr_format=3, consolidated=False)
    flush(path / group)
    sha256 = {str(name): array_sha256(variable.values) for name, variable in dataset.variables.items()}
    write_marker(marker, {**record, "group": group, "sha256": sha256})


def _check_attributes(group: str, dataset: xr.Dataset) -> None:
    for name, variable in dataset.data_vars.items():
        if missing := {"long_name", "units"} - variable.attrs.keys():
            raise ValueError(f"{group}/{name}: lacks the attribute {', '.join(sorted(missing))}")


def _of_subjects(rows: xr.Dataset) -> dict[str, xr.Variable]:
    return {str(name): variable for name, variable in rows.variables.items() if "subject" in variable.dims}


def _lay_out(
    path: Path, group: str, rows: xr.Dataset, n_subjects: int, part_subjects: int, record: Mapping[str, Any]
) -> None:
    """Replace what is there by a group with an empty array for each variable of the subjects."""
    _check_attributes(group, rows)
    of_subjects = _of_subjects(rows)
    others = rows.drop_vars(list(of_subjects)).assign_attrs(record)
    others.to_zarr(path, group=group, mode="w", zarr_format=3, consolidated=False)
    target = zarr.open_group(path / group, mode="r+")
    for name, variable in of_subjects.items():
        target.create_array(
            name,
            shape=(n_subjects, *variable.shape[1:]),
            dtype=variable.dtype,
            chunks=(min(n_subjects, part_subjects), *variable.shape[1:]),
            dimension_names=[str(name) for name in variable.dims],
            fill_value=np.nan if variable.dtype.kind == "f" else 0,
            attributes=dict(variable.attrs),
        )


def _finished(path: Path, journal: Path, heading: str, parts: list[Shard]) -> list[dict[str, str]]:
    """The hashes of the parts that an earlier run of the same job finished and that are still there."""
    if not journal.exists():
        return []
    first, *lines = journal.read_text(encoding="utf-8").splitlines() or [""]
    if first != heading:
        return []
    hashes = []
    for part, line in zip(parts, lines, strict=False):
        try:
            expected = json.loads(line)
            _stored(path, expected, part)
        except (ValueError, OSError):
            break  # half a line, or half a part: computed again
        hashes.append(expected)
    # Keep only what was kept, so that the journal goes on from there.
    journal.write_text("\n".join([first, *map(json.dumps, hashes)]) + "\n", encoding="utf-8")
    return hashes


def _stored(path: Path, expected: Mapping[str, str], part: Shard) -> dict[str, np.ndarray]:
    """A part as it is in the store. Raises ValueError if it is not what was written."""
    values = {}
    for name, sha256 in expected.items():
        try:
            values[name] = np.asarray(zarr.open_array(path / name, mode="r")[part.start : part.stop])
        except RuntimeError:  # what codecs raise
            values[name] = np.empty(0)
        if array_sha256(values[name]) != sha256:
            raise UserError(f"{path}/{name}: subjects {part.start} … {part.stop - 1} differ from what was "
                             "written")  # fmt: skip
    return values
