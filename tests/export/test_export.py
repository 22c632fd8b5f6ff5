"""A small finished dataset, written in every format and read back with what reads such files."""

import io
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray as xr
import yaml
from PIL import Image

from covary import nlme, rng, store
from covary.cli import main
from covary.config.reading import check
from covary.dataset import names
from covary.dataset.shards import Shard
from covary.dataset.subjects import SPLITS
from covary.records.study import Study

SETTINGS = check(
    {
        "experiment": "small",
        "images": {"size_px": 32},
        "subjects": {"train": 5, "validation": 2, "test": 4},
        "association": {"noise_variances": [0, 2.5]},
        "longitudinal": {"interval_h": 2.0},
    }
)
N = SETTINGS.subjects.total


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    path, markers = folder / "dataset.zarr", []
    layout = dict(size_px=32, channels=["grey"], shard_subjects=16, chunk_subjects=4)
    store.create(path, attributes={"seed": 1}, **layout)
    images = rng.generator(1, "images").integers(0, 256, (N, 1, 32, 32), dtype=np.uint8)
    store.write_image_shard(path, Shard(0, 0, N), images, folder / "0.json", {})
    store.validate_images(path, N, [folder / "0.json"], folder / "images.json")
    z = rng.normal(1, "z", 0, N, (4,)).astype(np.float32)
    split = np.repeat(np.arange(3, dtype=np.uint8), [5, 2, 4])
    study = Study.planned(SETTINGS.longitudinal, N, 1)
    times = {"time": ("time", np.asarray(study.times_h))}

    def group(name, variables, coords=None):
        attributes = {"long_name": "test", "units": "1"}
        dataset = xr.Dataset(
            {key: (("subject", *dims), value, attributes) for key, (dims, value) in variables.items()}
        )
        markers.append(folder / f"{name.replace('/', '_')}.json")
        store.write_group(path, name, dataset.assign_coords(coords or {}), markers[-1], {})

    effects = ("random_effect",)
    group("subjects", {"z": (("latent",), z), "eta": (effects, z[:, :3]), "split": ((), split)})
    for noise in ("0", "2.5"):
        eta_hat = rng.normal(1, noise, 0, N, (3,)).astype(np.float32)
        record = rng.normal(1, f"y/{noise}", 0, N, (len(study.times_h),)).astype(np.float32)
        variables = {"eta_hat": (effects, eta_hat), "observation": (("time",), record)}
        group(names.records(f"noise_{noise}"), variables, times)
        group(names.estimates(f"noise_{noise}"), {"eta_approx": (effects, 0.7 * eta_hat)})
    markers.append(folder / "design.json")
    store.write_group(path, names.DESIGN, study.label(), markers[-1], {})
    store.finalise(path, [folder / "images.json", *markers], folder / "manifest.json", {})
    (folder / "config.yaml").write_text(yaml.safe_dump(SETTINGS.model_dump()))
    return folder


@pytest.fixture(scope="module")
def tree(results):
    return store.open(results / "dataset.zarr")


def export(results, kind, target):
    assert main(["export", str(results), kind, str(target)]) == 0
    return target


def test_nonmem_tables_come_back_and_name_each_image(results, tree, tmp_path):
    folder = export(results, "nonmem", tmp_path / "nonmem")
    for noise in ("0", "2.5"):
        table = pd.read_csv(folder / f"noise_{noise}.csv")
        assert list(table.columns) == ["ID", "TIME", "AMT", "RATE", "EVID", "CMT", "DV", "MDV", "IMAGE"]
        assert set(table["ID"]) == set(range(1, N + 1))
        for number, path in table.groupby("ID")["IMAGE"].unique().items():
            with Image.open(folder / path.item()) as image:
                np.testing.assert_array_equal(np.asarray(image), tree["images/image"][number - 1, 0])
            assert path.item().split("/")[1] == SPLITS[int(tree["subjects/split"][number - 1])]
        records = nlme.read_nonmem(folder / f"noise_{noise}.csv")
        assert list(records.design.unusable) == ["IMAGE"]
        np.testing.assert_allclose(
            records.observation, tree[f"longitudinal/noise_{noise}/observation"], rtol=1e-6
        )
        assert (table.query("EVID == 1")["AMT"] == SETTINGS.longitudinal.regimen[0].amount).all()
    assert "IMAGE=DROP" in (folder / "README.md").read_text()


def test_png_and_parquet_hold_what_the_dataset_holds(results, tree, tmp_path):
    folder = export(results, "png", tmp_path / "png")
    subjects = pd.read_parquet(folder / "subjects.parquet")
    assert subjects["split"].tolist() == ["train"] * 5 + ["validation"] * 2 + ["test"] * 4
    np.testing.assert_array_equal(subjects[["eta_1", "eta_2", "eta_3"]], tree["subjects/eta"])
    for row in subjects.itertuples():
        with Image.open(folder / row.image) as image:
            np.testing.assert_array_equal(np.asarray(image), tree["images/image"][row.subject, 0])
    effects = pd.read_parquet(folder / "random_effects.parquet").query("noise_variance == 2.5")
    np.testing.assert_array_equal(
        effects[["eta_approx_1", "eta_approx_2", "eta_approx_3"]], tree["estimates/noise_2.5/eta_approx"]
    )
    records = pd.read_parquet(folder / "records.parquet").query("noise_variance == 0")
    wide = records.pivot(index="subject", columns="time_h", values="observation")
    np.testing.assert_array_equal(wide, tree["longitudinal/noise_0/observation"])
    np.testing.assert_array_equal(wide.columns, tree["longitudinal/noise_0/time"])


def test_the_hugging_face_folder_has_images_types_and_splits(results, tree, tmp_path):
    folder = export(results, "huggingface", tmp_path / "hub")
    _, front, card = (folder / "README.md").read_text().split("---\n", 2)
    (files,) = (config["data_files"] for config in yaml.safe_load(front)["configs"])
    assert [entry["split"] for entry in files] == list(SPLITS[:3])
    assert "28.6 %" in card  # 1/(1 + 2.5)
    for entry, rows in zip(files, (slice(0, 5), slice(5, 7), slice(7, 11)), strict=True):
        (file,) = folder.glob(entry["path"])
        table = pq.read_table(file)
        features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
        assert features["image"] == {"_type": "Image"} and features.keys() == set(table.column_names)
        assert table["subject"].to_pylist() == list(range(11))[rows]
        for stored, image in zip(table["image"].to_pylist(), tree["images/image"][rows].values, strict=True):
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(stored["bytes"]))), image[0])
        np.testing.assert_array_equal(
            np.stack(table["observation_2.5"].to_pylist()).astype(np.float32),
            tree["longitudinal/noise_2.5/observation"][rows],
        )
        assert table["z"].type.list_size == 4 == features["z"]["length"]


def test_a_failed_export_leaves_nothing_under_its_name(results, tmp_path, monkeypatch):
    from covary.export import folders

    def fail(source, target):
        (target / "half").write_text("")
        raise OSError("disk full")

    monkeypatch.setitem(folders.FORMATS, "png", fail)
    assert main(["export", str(results), "png", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    assert not (export(results, "png", tmp_path / "out") / "half").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_bad_input_is_one_line(results, tmp_path, capsys):
    def message(*arguments):
        assert main(["export", *map(str, arguments)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert "must be one of nonmem, png, huggingface, got 'csv'" in message(results, "csv", tmp_path / "a")
    assert "exists already" in message(results, "png", tmp_path)
    assert "manifest.json: no such file; export needs a finished" in message(tmp_path, "png", tmp_path / "a")
