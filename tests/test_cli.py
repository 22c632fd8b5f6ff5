from pathlib import Path

import numpy as np
import pytest
import yaml

import covary
from covary import store
from covary.cli import main
from covary.dataset.shards import Shard


@pytest.fixture
def folder(tmp_path):
    """A finished dataset of images alone."""
    path = tmp_path / "dataset.zarr"
    layout = dict(size_px=16, channels=["grey"], shard_subjects=8, chunk_subjects=4)
    store.create(path, attributes={"seed": 1}, **layout)
    images = np.random.default_rng(0).integers(0, 256, (12, 1, 16, 16), np.uint8)
    markers = [tmp_path / "0.json", tmp_path / "1.json"]
    store.write_image_shard(path, Shard(0, 0, 8), images[:8], markers[0], {})
    store.write_image_shard(path, Shard(1, 8, 12), images[8:], markers[1], {})
    store.validate_images(path, 12, markers, tmp_path / "images.json")
    store.finalise(path, [tmp_path / "images.json"], tmp_path / "manifest.json", {})
    return tmp_path


def test_an_intact_dataset_verifies(folder, capsys):
    assert main(["verify", str(folder)]) == 0
    assert "1 groups are as the manifest says" in capsys.readouterr().out


def test_a_flipped_byte_is_named(folder, capsys):
    shard = folder / "dataset.zarr/images/image/c/1/0/0/0"
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2] ^= 255
    shard.write_bytes(damaged)
    assert main(["verify", str(folder)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "shard images/image/c/1/0/0/0 with images 8 … 11" in line


def test_a_folder_without_a_manifest_is_one_line(tmp_path, capsys):
    assert main(["verify", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: {tmp_path / 'manifest.json'}: no such file"


def test_unlock_says_nothing_where_nothing_is_locked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["unlock"]) == 0
    assert capsys.readouterr().out == ""


def test_a_fault_of_the_program_keeps_its_traceback(folder, monkeypatch):
    monkeypatch.setattr("covary.store.verify", lambda *_: int("three"))
    with pytest.raises(ValueError, match="invalid literal"):
        main(["verify", str(folder)])


def test_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    citation = yaml.safe_load((Path(__file__).parents[1] / "CITATION.cff").read_text())
    assert capsys.readouterr().out == f"covary {covary.__version__}\n" == f"covary {citation['version']}\n"
