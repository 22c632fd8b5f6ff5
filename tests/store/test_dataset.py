import json
import re

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from covary import rng, store
from covary.dataset.shards import Shard, partition
from covary.store.arrays import set_end
from covary.store.markers import array_sha256, read_marker

N, SIZE, CHANNELS = 100, 16, ["DNA", "actin", "tubulin"]
LAYOUT = dict(size_px=SIZE, channels=CHANNELS, shard_subjects=64, chunk_subjects=16, attributes={"seed": 1})


@pytest.fixture
def images():
    return rng.generator(1, "images").integers(0, 256, (N, len(CHANNELS), SIZE, SIZE)).astype(np.uint8)


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


def finalise(dataset, *names):
    set_end(dataset, N)
    markers = [dataset.parent / f"{name}.json" for name in names]
    store.finalise(dataset, markers, dataset.parent / "manifest.json", {"config_sha256": "abc"})


def record(values, **attributes):
    attributes = {"long_name": "y", "units": "1"} | attributes
    return xr.Dataset({"y": (("subject", "time"), values, attributes)})


def test_images_come_back_in_any_order_of_shards(dataset, images):
    markers = write(dataset, images, reversed(partition(N, 64)))
    store.validate_images(dataset, N, markers, dataset.parent / "images.json")
    assert np.array_equal(store.read(dataset, "images")["image"].values, images)


def test_a_finished_dataset_opens_as_a_tree_with_nothing_of_ours(dataset, images, tmp_path):
    markers = write(dataset, images, partition(N, 64))
    store.validate_images(dataset, N, markers, tmp_path / "images.json")
    values = rng.normal(1, "y", 0, N, (3,)).astype(np.float32)
    store.write_group(dataset, "longitudinal/noise_0.5", record(values), tmp_path / "y.json", {"seed": 1})
    finalise(dataset, "images", "y")
    tree = xr.open_datatree(dataset, engine="zarr", consolidated=True)
    assert np.array_equal(tree["longitudinal/noise_0.5/y"].values, values)
    assert tree["longitudinal/noise_0.5"].attrs["seed"] == 1
    assert tree.attrs["config_sha256"] == "abc"
    manifest = read_marker(tmp_path / "manifest.json")
    assert manifest["groups"].keys() == {"images", "longitudinal/noise_0.5"}
    assert tree.attrs["manifest_sha256"] == manifest["sha256"]
    assert np.array_equal(store.open(dataset)["longitudinal/noise_0.5/y"].values, values)


def test_an_unfinished_dataset_does_not_open(dataset):
    with pytest.raises(ValueError, match=r"dataset\.zarr: not a finished dataset"):
        store.open(dataset)


def test_hashes_depend_neither_on_shards_nor_on_compression(images, tmp_path):
    found = []
    for shard_subjects, compression in ((16, None), (64, "zstd"), (128, None)):
        path = tmp_path / str(shard_subjects) / "dataset.zarr"
        path.parent.mkdir()
        store.create(path, **(LAYOUT | {"shard_subjects": shard_subjects, "compression": compression}))
        store.validate_images(
            path, N, write(path, images, partition(N, shard_subjects)), path.with_name("images.json")
        )
        finalise(path, "images")
        found.append(read_marker(path.with_name("manifest.json"))["sha256"])
    assert len(set(found)) == 1
    whole = array_sha256(images)
    assert read_marker(path.with_name("manifest.json"))["groups"]["images"] == {"image": whole}


@pytest.mark.parametrize("some", [slice(0, 64), slice(0, 40), slice(40, 64), slice(30, 90)])
def test_a_digest_of_some_images_does_not_depend_on_the_others(images, tmp_path, some):
    digests = []
    for n in (90, 100):
        path = tmp_path / f"{n}" / "dataset.zarr"
        path.parent.mkdir()
        store.create(path, **LAYOUT)
        marker = path.parent / "images.json"
        store.validate_images(path, n, write(path, images, partition(n, 64)), marker)
        digests.append(store.Images.of(path, some, marker).digest)
    assert digests[0] == digests[1]
    changed = images.copy()
    changed[some.stop - 1, 0, 0, 0] ^= 1
    store.validate_images(path, n, write(path, changed, partition(n, 64)), marker)
    assert store.Images.of(path, some, marker).digest != digests[0]


def test_creating_again_keeps_what_is_written(dataset, images):
    store.validate_images(dataset, N, write(dataset, images, partition(N, 64)), dataset.parent / "i.json")
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
        store.validate_images(dataset, N, markers, dataset.parent / "images.json")
    assert not (dataset.parent / "images.json").exists()


@pytest.mark.parametrize("stop", [80, 128, 160])
def test_other_subjects_keep_the_images_that_are_written(dataset, images, tmp_path, stop):
    write(dataset, images, partition(N, 64))
    store.create(dataset, **LAYOUT)
    more = np.concatenate([images, images])[:stop]
    markers = [tmp_path / "0.json", *write(dataset, more, partition(stop, 64)[1:])]
    store.validate_images(dataset, stop, markers, tmp_path / "images.json")
    assert np.array_equal(store.read(dataset, "images")["image"].values, more)


def test_a_changed_image_is_found(dataset, images, tmp_path):
    markers = write(dataset, images, partition(N, 64))
    images[70, 2, 3, 3] ^= 1
    store.write_image_shard(dataset, Shard(1, 64, 100), images[64:], tmp_path / "other.json", {})
    with pytest.raises(ValueError, match="images 64 … 99 differs from what was written; delete its marker"):
        store.validate_images(dataset, N, markers, tmp_path / "images.json")


@given(st.integers(0), st.integers(0, 7))
def test_any_flipped_bit_that_changes_an_image_is_found_and_its_shard_named(written, position, bit):
    dataset, markers, images = written
    shard = dataset / "images/image/c/1/0/0/0"
    intact = shard.read_bytes()
    damaged = bytearray(intact)
    damaged[position % len(damaged)] ^= 1 << bit
    shard.write_bytes(damaged)
    try:
        store.validate_images(dataset, N, markers, dataset.parent / "images.json")
    except ValueError as error:
        message = str(error)
        assert re.search("shard images/image/c/1/0/0/0 with images 64 … 99 (differs|is damaged)", message)
    else:  # a bit of the codec's own that means nothing
        assert np.array_equal(store.read(dataset, "images")["image"].values, images)
    finally:
        shard.write_bytes(intact)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / "dataset.zarr"
    store.create(path, **LAYOUT)
    images = rng.generator(1, "images").integers(0, 256, (N, len(CHANNELS), SIZE, SIZE)).astype(np.uint8)
    return path, write(path, images, partition(N, 64)), images


def test_a_lost_shard_is_missing_not_black(dataset, images, tmp_path):
    markers = write(dataset, images, partition(N, 64))
    (dataset / "images/image/c/0/0/0/0").unlink()
    with pytest.raises(ValueError, match="shard images/image/c/0/0/0/0 with images 0 … 63 is missing"):
        store.validate_images(dataset, N, markers, tmp_path / "images.json")


def test_a_damaged_shard_can_be_written_again(dataset, images, tmp_path):
    write(dataset, images, partition(N, 64))
    (dataset / "images/image/c/1/0/0/0").write_bytes(b"damaged")
    store.validate_images(dataset, N, write(dataset, images, partition(N, 64)), tmp_path / "images.json")
    np.testing.assert_array_equal(store.read(dataset, "images")["image"].values, images)


def test_a_changed_group_is_found(dataset, images, tmp_path):
    values = np.zeros((N, 3), np.float32)
    store.write_group(dataset, "estimates/noise_1", record(values), tmp_path / "a.json", {})
    store.write_group(dataset, "estimates/noise_1", record(values + 1), tmp_path / "b.json", {})
    with pytest.raises(ValueError, match="estimates/noise_1/y differs"):
        finalise(dataset, "a")


def test_a_group_of_other_subjects_is_refused(dataset, tmp_path):
    values = np.zeros((N - 1, 3), np.float32)
    store.write_group(dataset, "estimates/noise_1", record(values), tmp_path / "a.json", {})
    with pytest.raises(ValueError, match="estimates/noise_1 holds 99 subjects, expected 100"):
        finalise(dataset, "a")


def test_nan_needs_a_status_that_explains_it(dataset, tmp_path):
    values = np.zeros((N, 3), np.float32)
    values[[7, 9], 1] = np.nan
    status = np.zeros(N, np.int8)
    status[9] = 2
    flags = {"long_name": "status", "units": "1", "flag_values": [0, 1, 2]}
    group = record(values).assign(status=("subject", status, flags))
    store.write_group(dataset, "estimates/noise_1", group, tmp_path / "a.json", {})
    with pytest.raises(ValueError, match="estimates/noise_1/y holds NaN for subject 7"):
        finalise(dataset, "a")
    status[7] = 2
    store.write_group(dataset, "estimates/noise_1", group, tmp_path / "a.json", {})
    finalise(dataset, "a")
    assert read_marker(tmp_path / "manifest.json")["missing"] == {"estimates/noise_1/y": 2}


def test_nan_at_a_visit_that_is_not_present_is_no_fault(dataset, tmp_path):
    values, present = np.zeros((N, 3), np.float32), np.ones((N, 3), np.uint8)
    values[[7, 9], 1] = np.nan
    present[9, 1] = 0
    of_visits = (("subject", "time"), present, {"long_name": "present", "units": "1"})
    store.write_group(
        dataset, "longitudinal/noise_1", record(values).assign(present=of_visits), tmp_path / "a.json", {}
    )
    with pytest.raises(ValueError, match="longitudinal/noise_1/y holds NaN for subject 7"):
        finalise(dataset, "a")
    present[7, 1] = 0
    store.write_group(
        dataset, "longitudinal/noise_1", record(values).assign(present=of_visits), tmp_path / "a.json", {}
    )
    finalise(dataset, "a")


@pytest.fixture
def finished(dataset, images, tmp_path):
    store.validate_images(dataset, N, write(dataset, images, partition(N, 64)), tmp_path / "images.json")
    values = rng.normal(1, "y", 0, N, (3,)).astype(np.float32)
    store.write_group(dataset, "longitudinal/noise_0.5", record(values), tmp_path / "y.json", {"seed": 1})
    finalise(dataset, "images", "y")
    return dataset, tmp_path / "manifest.json"


def test_a_finished_dataset_verifies(finished):
    assert store.verify(*finished) == []


@pytest.mark.parametrize(
    ("file", "fault"),
    [
        ("images/image/c/1/0/0/0", "shard images/image/c/1/0/0/0 with images 64 … 99"),
        ("longitudinal/noise_0.5/y/c/0/0", "longitudinal/noise_0.5/y"),
        ("longitudinal/noise_0.5/y/zarr.json", "longitudinal/noise_0.5"),
    ],
)
def test_what_is_lost_after_a_download_is_named(finished, file, fault):
    dataset, manifest = finished
    (dataset / file).unlink()
    (line,) = store.verify(dataset, manifest)
    assert fault in line


def test_a_changed_manifest_is_named(finished):
    dataset, manifest = finished
    changed = json.loads(manifest.read_text())
    changed["groups"]["images"]["image"] = "0" * 64
    manifest.write_text(json.dumps(changed))
    assert "manifest.json: was changed" in store.verify(dataset, manifest)[0]


def test_groups_of_an_earlier_configuration_are_pointed_out(finished, tmp_path):
    dataset, manifest = finished
    values = np.zeros((N, 3), np.float32)
    store.write_group(dataset, "longitudinal/noise_4", record(values), tmp_path / "z.json", {})
    assert store.verify(dataset, manifest) == [f"{dataset}: longitudinal/noise_4 is not in the manifest"]


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
