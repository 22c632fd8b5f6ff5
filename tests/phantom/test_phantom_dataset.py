import numpy as np
import pandas as pd
from PIL import Image

from covary.config.images import Phantom
from covary.phantom import draw_factors, render, write_dataset

CONFIG = Phantom(train=23, test=11, height_px=64, width_px=64)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jpeg")}


def test_the_folder_holds_what_the_table_lists(tmp_path):
    write_dataset(tmp_path, CONFIG, seed=5, workers=1)
    table = pd.read_parquet(tmp_path / "factors.parquet")
    assert table["split"].value_counts().to_dict() == {"train": 23, "test": 11}
    assert set(contents(tmp_path)) == set(table["file"])
    assert not list(tmp_path.rglob("*.partial"))
    named = "{0.split}/{0.kind}/{0.kind}-{0.patient}-{0.scan}.jpeg"
    assert table["file"].tolist() == [
        named.format(row) for row in table.rename(columns={"class": "kind"}).itertuples()
    ]
    patients = table.groupby("split")["patient"].agg(set)
    assert not patients["train"] & patients["test"]
    drawn = draw_factors(5, 0, 23, CONFIG)
    pd.testing.assert_frame_equal(
        table[table["split"] == "train"].drop(columns=["file", "split"]).reset_index(drop=True), drawn
    )


def test_files_hold_the_rendered_scans(tmp_path):
    write_dataset(tmp_path, CONFIG, seed=5, workers=1)
    row = pd.read_parquet(tmp_path / "factors.parquet").iloc[3]
    stored = np.asarray(Image.open(tmp_path / row["file"])).astype(float)
    scan = render(row, CONFIG, 5).image
    assert stored.shape == (64, 64)
    assert np.abs(stored - scan).mean() < 5  # JPEG loses a little


def test_pictures_do_not_depend_on_workers_nor_test_ones_on_the_training_set(tmp_path):
    write_dataset(tmp_path / "one", CONFIG, seed=5, workers=1)
    write_dataset(tmp_path / "two", CONFIG, seed=5, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    fewer = CONFIG.model_copy(update={"train": 4})
    write_dataset(tmp_path / "two", fewer, seed=5, workers=1)
    left = contents(tmp_path / "two")
    assert len(left) == 4 + 11  # nothing of the earlier call stays behind
    assert left.items() <= contents(tmp_path / "one").items()
