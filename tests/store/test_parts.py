import json
import shutil

import numpy as np
import pytest
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st

from covary import rng, store
from covary.store.markers import array_sha256, read_marker

N = 103


@pytest.fixture
def path(tmp_path):
    store.create(
        tmp_path / "dataset.zarr",
        size_px=16,
        channels=["grey"],
        shard_subjects=64,
        chunk_subjects=16,
        attributes={},
    )
    return tmp_path / "dataset.zarr"


class Rows:
    """Draws of a range of subjects; stops with an error before the part it is told to."""

    def __init__(self, stop_before=None):
        self.computed = []
        self._stop_before = stop_before

    def __call__(self, part):
        if part.index == self._stop_before:
            raise RuntimeError("killed")
        self.computed.append(part.index)
        y = rng.normal(1, "y", part.start, part.stop, (3,)).astype(np.float32)
        whole = {"long_name": "y", "units": "1"}
        return xr.Dataset(
            {"y": (("subject", "time"), y, whole), "n": ("subject", np.arange(part.start, part.stop), whole)},
            coords={"time": ("time", [0.0, 0.5, 1.0], {"units": "h"})},
        )


def write(path, rows, record=None, part_subjects=10):
    marker = path.parent / "markers" / "y.json"
    store.write_parts(
        path, "estimates/noise_1", N, rows, marker, record or {"seed": 1}, part_subjects=part_subjects
    )
    return read_marker(marker)


@settings(max_examples=20)  # each writes a store; 1, 103 and 120 subjects in a part are tried in any case
@example(1)
@example(N)
@example(120)
@given(st.integers(1, 120))
def test_neither_values_nor_hashes_depend_on_the_parts(tmp_path_factory, part_subjects):
    folder = tmp_path_factory.mktemp("parts")
    marker = write(folder / "dataset.zarr", Rows(), part_subjects=part_subjects)
    y = rng.normal(1, "y", 0, N, (3,)).astype(np.float32)
    found = store.read(folder / "dataset.zarr", "estimates/noise_1")
    assert np.array_equal(found["y"].values, y) and list(found["time"].values) == [0.0, 0.5, 1.0]
    time = array_sha256(np.array([0.0, 0.5, 1.0]))
    assert marker["sha256"] == {"y": array_sha256(y), "n": array_sha256(np.arange(N)), "time": time}
    shutil.rmtree(folder)


def test_a_killed_job_goes_on_where_it_was(path):
    with pytest.raises(RuntimeError, match="killed"):
        write(path, Rows(stop_before=4))
    assert not (path.parent / "markers" / "y.json").exists()
    rest = Rows()
    resumed = write(path, rest)
    assert rest.computed == list(range(4, 11))
    assert resumed == write(path, Rows())
    assert [p.name for p in (path.parent / "markers").iterdir()] == ["y.json"]


def test_another_record_or_layout_starts_anew(path):
    for record, part_subjects in (({"seed": 2}, 10), ({"seed": 1}, 20)):
        with pytest.raises(RuntimeError):
            write(path, Rows(stop_before=2))
        rows = Rows()
        write(path, rows, record, part_subjects)
        assert rows.computed[0] == 0


@pytest.mark.parametrize("damage", ["half a line", "half a part"])
def test_what_a_kill_left_half_written_is_computed_again(path, damage):
    with pytest.raises(RuntimeError):
        write(path, Rows(stop_before=4))
    journal = path.parent / "markers" / ".y.json.parts"
    if damage == "half a line":
        journal.write_text(journal.read_text()[:-20])
    else:
        (path / "estimates/noise_1/y/c/3/0").write_bytes(b"")
    rows = Rows()
    marker = write(path, rows)
    assert rows.computed == list(range(3, 11))
    assert marker["sha256"]["y"] == array_sha256(rng.normal(1, "y", 0, N, (3,)).astype(np.float32))


def test_the_journal_is_readable(path):
    with pytest.raises(RuntimeError):
        write(path, Rows(stop_before=1))
    heading, line = (path.parent / "markers" / ".y.json.parts").read_text().splitlines()
    assert json.loads(heading) == {"n_subjects": N, "part_subjects": 10, "seed": 1}
    assert json.loads(line).keys() == {"y", "n"}
