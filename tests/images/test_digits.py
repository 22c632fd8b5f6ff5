import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits

from covary import images
from covary.config.images import Images
from covary.images.digits import write_digits


def test_every_digit_is_written_once_and_split_evenly(tmp_path):
    write_digits(tmp_path)
    write_digits(tmp_path)  # again: the same folder
    table = pd.read_csv(tmp_path / "labels.csv")
    on_disk = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")}
    assert on_disk == set(table["file"])
    assert sorted(table["n"]) == list(range(1797))
    held = table.groupby("digit")["split"].agg(lambda split: (split == "test").mean())
    np.testing.assert_allclose(held, 270 / 1797, atol=0.006)

    digits = load_digits()
    for row in table.iloc[::150].itertuples():
        assert row.digit == digits.target[row.n]
        pixels = np.asarray(Image.open(tmp_path / row.file))
        np.testing.assert_allclose(pixels, digits.images[row.n] / 16 * 255, atol=0.5)


def test_digits_go_through_the_preparation(tmp_path):
    write_digits(tmp_path / "digits")
    config = Images(source="folder", folder="digits", size_px=32)
    summary = images.prepare(
        tmp_path / "digits",
        tmp_path / "out",
        config,
        seed=1,
        workers=1,
        checkpoint_dir=tmp_path / "checkpoints",
    )
    assert (summary.train, summary.test) == (1527, 270)
    prepared = images.load(tmp_path / "out")
    assert prepared.train.shape == (1527, 1, 32, 32)
    assert set(prepared.index["class"]) == set("0123456789")
    # An enlarged digit keeps its mean grey level.
    first = prepared.index[prepared.index["row"] == 0].iloc[0]
    small = np.asarray(Image.open(tmp_path / "digits" / first["file"]))
    row = prepared.train[0] if first["split"] == "train" else prepared.test[0]
    assert abs(row.mean() - small.mean()) < 3
