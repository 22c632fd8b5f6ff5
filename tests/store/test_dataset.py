import json

import numpy as np
import pytest
import xarray as xr

from covary import rng, store
from covary.shards import Shard, partition
from covary.store.markers import array_sha256, read_marker

N, SIZE = 100, 16
LAYOUT = dict(n_subjects=N, size_px=SIZE, shard_subjects=64, chunk_subjects=16, attributes={"seed": 1})


@pytest.fixture
def images():
    return rng.generator(1, "images").integers(0, 256, (N, SIZE, SIZE)).astype(np.uint8)


@pytest.fixture
def dataset(tmp_path):
    path = tmp_path / "dataset.zarr"
    store.create(path, **LAYOUT)
    return path


def write(dataset, images, shards):
    markers = []
    for shard in shards:
        marker = dataset.parent / f"{shard.index}.json"
        store.write_image_shard(dataset, shard, images[shard.start : shard.stop], marker, {"seed": 1})
        markers.append(marker)
    return markers


def record(values, **attributes):
    attributes = {"long_name": "y", "units": "1"} | attributes
    return xr.Dataset({"y": (("subject", "time"), values, attributes)})


def test_images_come_back_in_any_order_of_shards(dataset, images):
    markers = write(dataset, images, reversed(partition(N, 64)))
    store.validate_images(dataset, markers, dataset.parent / "images.json")
    assert np.array_equal(store.read(dataset, "images")["image"].values, images)


def test_a_finished_dataset_opens_as_a_tree_with_nothing_of_ours(dataset, images, tmp_path):
    markers = write(dataset, images, partition(N, 64))
    store.validate_images(dataset, markers, tmp_path / "images.json")
    values = rng.normal(1, "y", 0, N, (3,)).astype(np.float32)
    store.write_group(dataset, "longitudinal/noise_0.5", record(values), tmp_path / "y.json", {"seed": 1})
    store.finalise(dataset, [tmp_path / "images.json", tmp_path / "y.json"], tmp_path / "manifest.json")
    tree = xr.open_datatree(dataset, engine="zarr", consolidated=True)
    assert np.array_equal(tree["longitudinal/noise_0.5/y"].values, values)
    assert tree["longitudinal/noise_0.5"].attrs["seed"] == 1
    assert read_marker(tmp_path / "manifest.json")["groups"].keys() == {"images", "longitudinal/noise_0.5"}


def test_creating_again_keeps_what_is_written(dataset, images):
    write(dataset, images, partition(N, 64))
    store.create(dataset, **LAYOUT)
    assert np.array_equal(store.read(dataset, "images")["image"].values, images)


def test_another_layout_does_not_overwrite(dataset):
    with pytest.raises(FileExistsError, match="another specification"):
        store.create(dataset, **(LAYOUT | {"size_px": 32}))


def test_a_dataset_in_the_way_is_kept(dataset):
    kept = store.set_aside(dataset)
    assert kept.exists() and not dataset.exists()
    store.create(dataset, **LAYOUT)
    assert store.set_aside(dataset) != kept


@pytest.mark.parametrize(
    ("shards", "fault"),
    [
        ([Shard(0, 0, 64)], "images 64 … 99 are in no shard"),
        ([Shard(1, 64, 100)], "images 0 … 63 are in no shard"),
        ([Shard(0, 0, 64), Shard(1, 32, 100)], "images 32 … 63 are in two shards"),
    ],
)
def test_holes_and_overlaps_are_named(dataset, images, shards, fault):
    markers = write(dataset, images, shards)
    with pytest.raises(ValueError, match=fault):
        store.validate_images(dataset, markers, dataset.parent / "images.json")
    assert not (dataset.parent / "images.json").exists()


def test_a_changed_image_is_found(dataset, images, tmp_path):
    markers = write(dataset, images, partition(N, 64))
    images[70, 3, 3] ^= 1
    store.write_image_shard(dataset, Shard(1, 64, 100), images[64:], tmp_path / "other.json", {})
    with pytest.raises(ValueError, match="images 64 … 99 differ"):
        store.validate_images(dataset, markers, tmp_path / "images.json")


def test_a_changed_group_is_found(dataset, tmp_path):
    values = np.zeros((N, 3), np.float32)
    store.write_group(dataset, "estimates/noise_1", record(values), tmp_path / "a.json", {})
    store.write_group(dataset, "estimates/noise_1", record(values + 1), tmp_path / "b.json", {})
    with pytest.raises(ValueError, match="estimates/noise_1/y differs"):
        store.finalise(dataset, [tmp_path / "a.json"], tmp_path / "manifest.json")


def test_a_shard_of_the_wrong_length_is_refused(dataset, images):
    with pytest.raises(ValueError, match="shard 0: expected 64 images, got 63"):
        store.write_image_shard(dataset, Shard(0, 0, 64), images[:63], dataset.parent / "0.json", {})


def test_variables_without_units_are_refused(dataset, tmp_path):
    bad = xr.Dataset({"y": ("subject", np.zeros(3), {"long_name": "y"})})
    with pytest.raises(ValueError, match="estimates/noise_1/y: lacks the attribute units"):
        store.write_group(dataset, "estimates/noise_1", bad, tmp_path / "m.json", {})


def test_hashes_do_not_depend_on_memory_layout():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert (
        array_sha256(values) == array_sha256(np.asfortranarray(values)) == array_sha256(values.astype(">f4"))
    )


@pytest.mark.parametrize("text", ["", "[1]", json.dumps({"start": 0})])
def test_a_broken_marker_is_named(tmp_path, text):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(ValueError, match=r"m\.json"):
        read_marker(tmp_path / "m.json")
