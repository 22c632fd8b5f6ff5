import itertools
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from deep_files import write_tiff_16
from PIL import Image

from covary import images
from covary.config.images import Crop, Images, Oct, Window
from covary.images.geometry import resize
from covary.images.prepare import clean_image, prepare_image
from covary.jobs.resumable import Journal

PLAIN = Images(source="folder", folder="source", size_px=16, max_unreadable_fraction=0.2)
SCANS = Oct(crop=Crop(height_px=40, width_px=40))
CONFIG = PLAIN.model_copy(update={"oct": SCANS})


def scan(number, shape=(48, 36)):
    return np.random.default_rng(number).integers(0, 150, shape).astype(np.uint8)


@pytest.fixture
def source(tmp_path):
    """Twelve images of six patients, with splits; file k of a split holds scan(k)."""
    folder = tmp_path / "source"
    for split, count in (("train", 8), ("test", 4)):
        (folder / split / "CNV").mkdir(parents=True)
        for k in range(count):
            Image.fromarray(scan(k)).save(folder / split / "CNV" / f"CNV-{split}{k // 2}-{k % 2 + 1}.png")
    return folder


def prepare(source, out, config, workers=1):
    return images.prepare(source, out, config, 1, workers, out / "checkpoints")


def truncate(path):
    path.write_bytes(path.read_bytes()[:300])


def test_every_image_is_cropped_and_resized_in_the_order_of_files(source, tmp_path):
    summary = prepare(source, tmp_path / "out", CONFIG)
    assert (summary.train, summary.test, summary.unreadable, summary.conversions) == (8, 4, [], {})
    prepared = images.load(tmp_path / "out")
    assert prepared.train.shape == (8, 1, 16, 16)
    np.testing.assert_array_equal(prepared.train, [prepare_image(scan(k)[None], CONFIG) for k in range(8)])
    np.testing.assert_array_equal(prepared.test, [prepare_image(scan(k)[None], CONFIG) for k in range(4)])
    index = prepared.index
    assert index["file"].is_monotonic_increasing
    assert index.loc[index["split"] == "train", "row"].tolist() == list(range(8))
    assert index.loc[index["split"] == "train", "patient"].tolist() == [f"train{k // 2}" for k in range(8)]
    assert set(index["status"]) == {"ok"}


def test_loaded_images_are_mapped_and_read_only(source, tmp_path):
    prepare(source, tmp_path / "out", CONFIG)
    prepared = images.load(tmp_path / "out")
    assert isinstance(prepared.train, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        prepared.train[0, 0, 0, 0] = 1


def test_the_files_do_not_depend_on_workers(source, tmp_path):
    for workers in (1, 2):
        prepare(source, tmp_path / str(workers), CONFIG, workers=workers)
    for name in ("train.npy", "test.npy", "index.parquet"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_the_steps_are_those_of_the_config(tmp_path):
    image = np.full((40, 40), 60, np.uint8)
    image[:9, :9] = 255
    kept = prepare_image(
        image[None], CONFIG.model_copy(update={"oct": SCANS.model_copy(update={"fill_white_corners": False})})
    )
    assert kept[0, 0, 0] == 255
    assert (prepare_image(image[None], CONFIG) == 60).all()
    wide = np.full((40, 80), 60, np.uint8)
    assert (prepare_image(wide[None, :20], CONFIG)[:, [0, -1]] == 0).all()  # padded to 40 rows
    assert (prepare_image(wide[None, :20], CONFIG.model_copy(update={"oct": Oct(crop=None)})) == 60).all()


def test_unreadable_images_are_named_counted_and_left_out(source, tmp_path, caplog):
    truncate(source / "train/CNV/CNV-train1-1.png")
    with caplog.at_level(logging.INFO, "covary"):
        summary = prepare(source, tmp_path / "out", CONFIG)
    assert (summary.train, summary.test) == (7, 4)
    assert summary.unreadable == ["train/CNV/CNV-train1-1.png"]
    assert "train/CNV/CNV-train1-1.png" in caplog.text
    assert "left out: 1 of 12 images" in caplog.text
    prepared = images.load(tmp_path / "out")
    assert len(prepared.train) == 7
    left = [0, 1, 3, 4, 5, 6, 7]
    np.testing.assert_array_equal(prepared.train, [prepare_image(scan(k)[None], CONFIG) for k in left])
    lost = prepared.index[prepared.index["row"].isna()]
    assert lost["file"].tolist() == ["train/CNV/CNV-train1-1.png"]
    assert lost["status"].iloc[0].startswith(("OSError", "SyntaxError"))


def test_too_many_unreadable_images_stop_the_run_and_leave_nothing(source, tmp_path):
    prepare(source, tmp_path / "out", CONFIG)
    for name in ("CNV-train0-1", "CNV-train2-2", "CNV-train3-1"):
        truncate(source / f"train/CNV/{name}.png")
    with pytest.raises(
        ValueError, match=r"images\.max_unreadable_fraction: .* 3 of 12 .*CNV-train0-1\.png"
    ) as error:
        prepare(source, tmp_path / "out", CONFIG)
    assert "\n" not in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(ValueError, match="no finished prepared images"):
        images.load(tmp_path / "out")


def test_a_split_that_is_all_unreadable_stops_the_run(source, tmp_path):
    for path in (source / "test/CNV").iterdir():
        truncate(path)
    lenient = CONFIG.model_copy(update={"max_unreadable_fraction": 1.0})
    with pytest.raises(ValueError, match="no test image"):
        prepare(source, tmp_path / "out", lenient)


def test_conversions_are_said_once_a_kind(source, tmp_path, caplog):
    for k in range(2):
        Image.fromarray(np.stack([scan(k)] * 3, axis=-1)).save(source / f"train/CNV/CNV-rgb{k}-1.png")
    Image.fromarray(scan(5).astype(np.uint16) * 257).save(source / "train/CNV/CNV-deep-1.png")
    with caplog.at_level(logging.INFO, "covary"):
        summary = prepare(source, tmp_path / "out", CONFIG)
    assert summary.conversions == {
        "grey as three equal colours": 12,
        "grey as three equal colours; uint16 values scaled to 8 bits": 1,
    }
    assert "12 × grey as three equal colours" in caplog.text
    assert "8 bits and of more are mixed: 14 and 1" in caplog.text
    prepared = images.load(tmp_path / "out")
    assert prepared.channels == ("red", "green", "blue")
    rows = prepared.index.set_index("file")["row"]
    for name, original in (("rgb0", 0), ("rgb1", 1)):
        found = prepared.train[rows[f"train/CNV/CNV-{name}-1.png"]]
        np.testing.assert_array_equal(
            found, np.repeat(prepare_image(scan(original)[None], CONFIG), 3, axis=0)
        )
    grey = CONFIG.model_copy(update={"channels": "grey"})
    prepare(source, tmp_path / "out", grey)
    prepared = images.load(tmp_path / "out")
    assert prepared.channels == ("grey",)
    found = prepared.train[rows["train/CNV/CNV-rgb0-1.png"]]
    np.testing.assert_array_equal(found, prepare_image(scan(0)[None], CONFIG))


def folder_of(tmp_path, pixels, suffix="png"):
    folder = tmp_path / "folder"
    for split, some in (("train", pixels[1:]), ("test", pixels[:1])):
        (folder / split).mkdir(parents=True)
        for i, image in enumerate(some):
            Image.fromarray(image).save(folder / split / f"{i}.{suffix}")
    return folder


def test_deep_images_are_scaled_by_the_range_of_the_folder(tmp_path, caplog):
    values = np.random.default_rng(1).integers(37, 4096, (4, 16, 16)).astype(np.uint16)
    values[0, 0, 0], values[2, 3, 3] = 37, 4095
    with caplog.at_level(logging.INFO, "covary"):
        prepare(folder_of(tmp_path, values), tmp_path / "out", PLAIN)
    prepared = images.load(tmp_path / "out")
    expected = np.rint((values - 37.0) * 255 / (4095 - 37))
    np.testing.assert_array_equal(np.concatenate([prepared.test, prepared.train])[:, 0], expected)
    assert "values 37 … 4095 of grey are scaled to 0 … 255" in caplog.text
    scaled = json.loads((tmp_path / "out/attributes.json").read_text())["scaled_from"]
    assert scaled == {"low": [37.0], "high": [4095.0]}


def test_deep_colours_are_scaled_by_one_range_for_all_three(tmp_path, caplog):
    values = np.random.default_rng(1).integers(300, 50_000, (4, 16, 16, 3)).astype(np.uint16)
    values[1, 0, 0, 2], values[3, 5, 5, 0] = 211, 65_021
    for i, (order, deflate) in enumerate([("<", False), (">", False), ("<", True), (">", True)]):
        folder = tmp_path / "folder" / ("train" if i else "test")
        folder.mkdir(parents=True, exist_ok=True)
        write_tiff_16(folder / f"{i}.tif", values[i], order, deflate)
    with caplog.at_level(logging.INFO, "covary"):
        prepare(tmp_path / "folder", tmp_path / "out", PLAIN)
    prepared = images.load(tmp_path / "out")
    assert prepared.channels == ("red", "green", "blue")
    expected = np.rint((np.moveaxis(values, -1, 1) - 211.0) * 255 / (65_021 - 211))
    np.testing.assert_array_equal(np.concatenate([prepared.test, prepared.train]), expected)
    assert "uint16 values scaled to 8 bits" in caplog.text
    for colour in prepared.channels:
        assert f"values 211 … 65021 of {colour} are scaled to 0 … 255 (images.intensity)" in caplog.text
    scaled = json.loads((tmp_path / "out/attributes.json").read_text())["scaled_from"]
    assert scaled == {"low": [211.0] * 3, "high": [65021.0] * 3}


@pytest.mark.parametrize(
    ("intensity", "low", "high"), [(Window(low=50, high=150), 50, 150), ("percentiles", 9.5, 89.5)]
)
def test_a_window_and_percentiles_hold_for_8_bit_images_too(tmp_path, intensity, low, high):
    ramp = np.linspace(0, 100, 256).reshape(16, 16).round().astype(np.uint8)
    ramp = np.clip(ramp, 9, 90) if intensity == "percentiles" else ramp
    config = PLAIN.model_copy(update={"intensity": intensity})
    prepare(folder_of(tmp_path, np.stack([ramp, ramp.T])), tmp_path / "out", config)
    attributes = json.loads((tmp_path / "out/attributes.json").read_text())["scaled_from"]
    assert attributes["low"][0] == pytest.approx(low, abs=1) and attributes["high"][0] == pytest.approx(
        high, abs=1
    )
    low, high = attributes["low"][0], attributes["high"][0]
    expected = np.rint(((ramp - low) * 255 / (high - low)).clip(0, 255))
    np.testing.assert_array_equal(images.load(tmp_path / "out").test[0, 0], expected)


def test_pages_are_channels_that_can_be_named_and_selected(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (3, 4, 16, 16)).astype(np.uint8)
    for split, n in (("train", 2), ("test", 1)):
        (tmp_path / "folder" / split).mkdir(parents=True)
        for k in range(n):
            first, *others = map(Image.fromarray, pixels[k])
            first.save(tmp_path / f"folder/{split}/{k}.tif", save_all=True, append_images=others)
    Image.fromarray(pixels[0, 0]).save(tmp_path / "folder/train/odd.tif")
    lenient = PLAIN.model_copy(update={"max_unreadable_fraction": 0.3})
    prepare(tmp_path / "folder", tmp_path / "out", lenient)
    prepared = images.load(tmp_path / "out")
    assert prepared.channels == ("channel_0", "channel_1", "channel_2", "channel_3")
    np.testing.assert_array_equal(prepared.train, pixels[:2])
    odd = prepared.index.set_index("file").loc["train/odd.tif"]
    assert odd["status"] == "1 channels; most images of the folder have 4"
    for channels, rows in (
        (["channel_2", "channel_0"], [2, 0]),
        (["DNA", "ER", "RNA", "actin"], [0, 1, 2, 3]),
    ):
        prepare(
            tmp_path / "folder", tmp_path / "out", lenient.model_copy(update={"channels": list(channels)})
        )
        prepared = images.load(tmp_path / "out")
        assert list(prepared.channels) == list(channels)
        np.testing.assert_array_equal(prepared.train, pixels[:2, rows])
    with pytest.raises(ValueError, match=r"^images\.channels: must name some of the 4 .* got DNA$"):
        prepare(tmp_path / "folder", tmp_path / "out", lenient.model_copy(update={"channels": ["DNA"]}))


@pytest.mark.parametrize(
    ("how", "margin", "disc"), [(None, 0, True), ("centre_square", 200, True), ("stretch", 200, False)]
)
def test_a_folder_of_ones_own_keeps_whole_images_and_their_aspect(tmp_path, how, margin, disc):
    y, x = np.mgrid[:60, :100]
    photograph = np.where(np.hypot(y - 30, x - 50) < 12, 40, 200).astype(np.uint8)
    config = PLAIN.model_copy(update={"fit": how, "size_px": 64})
    found = prepare_image(photograph[None], config)[0].astype(int)
    assert abs(found[2, 32] - margin) < 3
    dark = (abs(found - 40) < 30) & (abs(np.arange(64)[:, None] - 32) < 16)
    height, width = np.ptp(np.flatnonzero(dark.any(axis=1))), np.ptp(np.flatnonzero(dark.any(axis=0)))
    assert (abs(height - width) <= 1) == disc


def test_white_corners_and_a_dark_disc_on_white_stay_in_a_folder_of_ones_own():
    """What fills the corners of OCT scans would turn such a photograph into one grey."""
    y, x = np.mgrid[:150, :200]
    photograph = np.where(np.hypot(y - 75, x - 100) < 50, 90, 255).astype(np.uint8)[None]
    config = PLAIN.model_copy(update={"size_px": 200})
    prepared = prepare_image(photograph, config)
    np.testing.assert_array_equal(prepared[:, 25:175], photograph)  # black margins above and below
    as_scan = prepare_image(photograph, config.model_copy(update={"oct": Oct(crop=None)}))
    assert (as_scan < 255).all()


def test_images_without_contrast_or_all_alike_stop_the_run(tmp_path):
    flat = np.full((3, 20, 20), 111, np.uint8)
    with pytest.raises(ValueError, match=r"^images\.folder: [^\n]*no contrast[^\n]*111[^\n]*$"):
        prepare(folder_of(tmp_path / "flat", flat), tmp_path / "out", PLAIN)
    with pytest.raises(ValueError, match="no finished prepared images"):
        images.load(tmp_path / "out")
    same = np.repeat(scan(1, (20, 20))[None], 3, axis=0)
    with pytest.raises(ValueError, match=r"^images\.folder: [^\n]*all alike[^\n]*$"):
        prepare(folder_of(tmp_path / "same", same), tmp_path / "out", PLAIN)
    deep = np.full((3, 20, 20), 700, np.uint16)
    with pytest.raises(ValueError, match=r"^images\.intensity: all values of grey are 700"):
        prepare(folder_of(tmp_path / "deep", deep), tmp_path / "out", PLAIN)


def test_files_that_do_not_belong_together_are_refused(source, tmp_path):
    prepare(source, tmp_path / "out", CONFIG)
    np.save(tmp_path / "out/test.npy", np.zeros((9, 1, 16, 16), np.uint8))
    with pytest.raises(ValueError, match=r"test\.npy holds 9 images, index\.parquet lists 4"):
        images.load(tmp_path / "out")


def test_an_empty_folder_is_one_clear_line(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match=r"^images\.folder: .*empty holds no image that can be used: [^\n]*$"
    ):
        prepare(tmp_path / "empty", tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()


def test_the_index_is_plain_parquet(source, tmp_path):
    prepare(source, tmp_path / "out", CONFIG)
    index = pd.read_parquet(tmp_path / "out/index.parquet")
    assert list(index.columns) == ["file", "split", "class", "patient", "status", "row", "conversion"]


def test_the_generator_can_have_a_size_of_its_own(source, tmp_path):
    prepare(source, tmp_path / "out", CONFIG.model_copy(update={"generator_size_px": 32}))
    prepared = images.load(tmp_path / "out")
    assert prepared.train.shape == (8, 1, 16, 16) and prepared.generator_test.shape == (4, 1, 32, 32)
    np.testing.assert_array_equal(
        prepared.generator_train, [resize(clean_image(scan(k)[None], CONFIG), 32) for k in range(8)]
    )
    prepare(source, tmp_path / "out", CONFIG)
    prepared = images.load(tmp_path / "out")
    assert prepared.generator_train is prepared.train and prepared.generator_test is prepared.test


def test_patients_of_the_test_images_can_be_left_out_of_training(source, tmp_path, caplog):
    (source / "test/CNV/CNV-test0-1.png").rename(source / "test/CNV/CNV-train1-9.png")
    with caplog.at_level(logging.WARNING, "covary"):
        assert prepare(source, tmp_path / "out", CONFIG).train == 6
    assert "test/: 1, such as train1; their 2 training images are left out" in caplog.text
    index = images.load(tmp_path / "out").index
    index = index[index["status"] == "ok"]
    assert not set(index["patient"][index["split"] == "train"]) & set(
        index["patient"][index["split"] == "test"]
    )
    published = CONFIG.model_copy(update={"patient_disjoint": False})
    assert prepare(source, tmp_path / "out", published).train == 8
    assert "training images are kept" in caplog.text


def many_scans(folder):
    for split, count in (("train", 900), ("test", 20)):
        (folder / split / "CNV").mkdir(parents=True)
        for k in range(count):
            Image.fromarray(scan(k)).save(folder / split / "CNV" / f"CNV-{split}{k:04d}-1.png")
    truncate(folder / "train/CNV/CNV-train0003-1.png")


def test_a_killed_preparation_ends_with_the_files_of_an_uninterrupted_one(tmp_path, caplog):
    many_scans(tmp_path / "source")
    prepare(tmp_path / "source", tmp_path / "whole", CONFIG)
    process = subprocess.Popen(
        [sys.executable, __file__, str(tmp_path / "source"), str(tmp_path / "killed")],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},  # this file uses others of the tests
    )  # fmt: skip
    assert process.stdout.readline() == "prepared more than the journal says\n"
    process.kill()
    assert process.wait() == -signal.SIGKILL
    journal = tmp_path / "killed" / "checkpoints" / "journal.json"
    assert journal.exists()
    with caplog.at_level(logging.INFO, "covary"):
        prepare(tmp_path / "source", tmp_path / "killed", CONFIG)
    assert "preparation goes on after" in caplog.text
    for name in ("train.npy", "test.npy", "index.parquet"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    assert not journal.parent.exists()


def stop_before_the_second_journal():
    """Say so and wait to be killed: more images are prepared by then than the journal on disk says."""
    write, calls = Journal.write, itertools.count(1)

    def write_once(self, outcomes):
        if next(calls) > 1:
            print("prepared more than the journal says", flush=True)
            signal.pause()
        write(self, outcomes)

    Journal.write = write_once


if __name__ == "__main__":
    stop_before_the_second_journal()
    prepare(*map(Path, sys.argv[1:]), CONFIG)
