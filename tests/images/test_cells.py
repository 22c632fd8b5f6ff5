"""Cells in the layout of BBBC021: what the index keeps, how values are scaled, what is refused."""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from covary import images
from covary.config.images import Cells, Images
from covary.errors import UserError
from covary.images.cells import IMAGES, TABLE, cell_file, read_cell, scaled
from covary.images.reading import UnreadableImage

SIDE_PX = 16
SETTINGS = Cells(side_px=SIDE_PX)
MODES = {"DMSO": "DMSO", "mevinolin/lovastatin": "Cholesterol-lowering", "taxol": "Microtubule stabilizers"}


def write_cells(folder: Path, seed: int = 0) -> pd.DataFrame:
    """Three weeks with one plate each, six wells on a plate, five cells in a well, in no order of rows."""
    draw = np.random.default_rng(seed)
    rows = []
    for week in (1, 2, 3):
        for well, (compound, concentration) in enumerate(
            [("DMSO", 0.0), ("DMSO", 0.0), ("mevinolin/lovastatin", 1.5), ("mevinolin/lovastatin", 5.0),
             ("taxol", 0.3), ("taxol", 3.0)]
        ):  # fmt: skip
            field = f"Week{week}_B0{well + 2}_s1_w1{week}{well}"
            rows += [
                {
                    "Unnamed: 0": 0,
                    "Multi_Cell_Image_Id": well,
                    "Multi_Cell_Image_Name": field,
                    "Single_Cell_Image_Id": number,
                    "Single_Cell_Image_Name": f"{field}_{number}.npy",
                    "Image_PathName_DAPI": f"Week{week}/Week{week}_22123",
                    "Image_Metadata_Plate_DAPI": f"Week{week}_22123",
                    "Image_Metadata_Well_DAPI": f"B0{well + 2}",
                    "Replicate": 1,
                    "Image_Metadata_Compound": compound,
                    "Image_Metadata_Concentration": concentration,
                    "moa": MODES[compound],
                }
                for number in range(1, 6)
            ]
    table = pd.DataFrame(rows).sample(frac=1, random_state=seed)
    table.to_csv(folder / TABLE, index=False)
    for file in cell_file(table["Multi_Cell_Image_Name"], table["Single_Cell_Image_Id"]):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / file, draw.integers(1, 40_000, (SIDE_PX, SIDE_PX, 3), np.uint16))
    return table


def settings(folder: Path, **others) -> Images:
    cells = SETTINGS.model_copy(update=others.pop("cells", {}))
    return Images(source="cells", folder=str(folder), size_px=SIDE_PX, cells=cells, **others)


def prepare(folder: Path, out: Path, workers: int = 1, **others) -> images.PreparedImages:
    config = settings(folder, **others)
    images.prepare(folder, out, config, seed=1, workers=workers, checkpoint_dir=out / "checkpoints")
    return images.load(out)


def files_of(folder: Path) -> list[Path]:
    return sorted((folder / IMAGES).glob("*/*.npy"))


def test_the_index_keeps_what_was_done_to_each_cell(tmp_path):
    table = write_cells(tmp_path)
    index = prepare(tmp_path, tmp_path / "out").index
    row = index.set_index("file").loc[f"{IMAGES}/Week2_B04_s1_w122/Week2_B04_s1_w122_3.npy"]
    assert row["treatment"] == "mevinolin/lovastatin_1.5"
    assert row["compound"] == "mevinolin/lovastatin" and row["concentration"] == 1.5
    assert row["moa"] == row["class"] == "Cholesterol-lowering"
    assert (row["plate"], row["well"], row["week"]) == ("Week2_22123", "Week2_22123_B04", "Week2")
    assert len(index) == len(table) and index["file"].is_monotonic_increasing
    assert set(index["status"]) == {"ok"}


def test_pixels_are_the_files_values_divided_by_the_maximum_of_each_channel(tmp_path):
    write_cells(tmp_path)
    prepared = prepare(tmp_path, tmp_path / "out")
    assert prepared.channels == ("DNA", "actin", "tubulin")
    for split in ("train", "test"):
        rows = prepared.index[prepared.index["split"] == split]
        for row in rows.itertuples():
            values = np.moveaxis(np.load(tmp_path / row.file), -1, 0)
            expected = np.rint(255 * (values / values.max(axis=(1, 2), keepdims=True)))
            np.testing.assert_allclose(getattr(prepared, split)[row.row], expected, atol=1)


@given(
    hnp.arrays(np.uint16, hnp.array_shapes(min_dims=3, max_dims=3, max_side=5)),
    st.sampled_from(["maximum", 1.0, 40_000.0]),
)
def test_scaled_values_keep_their_order_and_zero_stays_zero(values, scale):
    pixels = scaled(values, scale)
    assert (pixels[values == 0] == 0).all()
    for channel, whole in zip(values, pixels, strict=True):
        order = np.argsort(channel, axis=None)
        assert (np.diff(whole.ravel()[order].astype(int)) >= 0).all()
        if scale == "maximum" and channel.any():
            assert whole.max() == 255
    if scale != "maximum":
        np.testing.assert_allclose(pixels, np.rint(255 * np.minimum(values / scale, 1)), atol=1)


def test_channels_can_be_named_selected_and_reordered(tmp_path):
    write_cells(tmp_path)
    plain = prepare(tmp_path, tmp_path / "plain")
    other = prepare(
        tmp_path, tmp_path / "other", channels=["actin", "DNA"], cells={"stains": ["DNA", "tubulin", "actin"]}
    )
    assert other.channels == ("actin", "DNA")
    np.testing.assert_array_equal(other.train, plain.train[:, [2, 0]])


@pytest.mark.parametrize("unit", ["cell", "well", "treatment"])
def test_a_unit_is_on_one_side_of_the_split(tmp_path, unit):
    write_cells(tmp_path)
    index = prepare(tmp_path, tmp_path / "out", cells={"split_by": unit}, test_fraction=0.3).index
    column = "file" if unit == "cell" else unit
    assert (index.groupby(column, observed=True)["split"].nunique() == 1).all()
    assert (index["split"] == "test").mean() == pytest.approx(0.3, abs=0.1)


def test_two_workers_write_what_one_writes(tmp_path):
    write_cells(tmp_path)
    one, two = (prepare(tmp_path, tmp_path / str(n), workers=n) for n in (1, 2))
    np.testing.assert_array_equal(one.train, two.train)
    pd.testing.assert_frame_equal(one.index, two.index)


def spoil(file: Path, how: str) -> None:
    values = np.load(file).astype(np.float32)
    match how:
        case "missing":
            file.unlink()
        case "truncated":
            file.write_bytes(file.read_bytes()[:200])
        case "empty":
            file.write_bytes(b"")
        case "pickled":
            np.save(file, np.array([{}], dtype=object), allow_pickle=True)
        case "shape":
            np.save(file, values[:, :, :2])
        case "type":
            np.save(file, values.astype(complex))
        case "nan":
            values[0, 0, 0] = np.nan
            np.save(file, values)
        case "negative":
            np.save(file, -values)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("missing", "no such file"),
        ("truncated", "not a whole .npy file"),
        ("empty", "not a whole .npy file"),
        ("pickled", "not a whole .npy file"),
        ("shape", re.escape("has the shape [16, 16, 2]; expected [16, 16, 3]")),
        ("type", "values of type complex"),
        ("nan", "not finite"),
        ("negative", "negative values"),
    ],
)
def test_a_bad_file_is_named_in_one_line_and_left_out_up_to_the_share_allowed(tmp_path, how, reason):
    write_cells(tmp_path)
    bad = files_of(tmp_path)[7]
    spoil(bad, how)
    with pytest.raises(UnreadableImage, match=reason) as caught:
        read_cell(bad, SETTINGS)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=f"max_unreadable_fraction.*{bad.name}"):
        prepare(tmp_path, tmp_path / "out")
    index = prepare(tmp_path, tmp_path / "out", max_unreadable_fraction=0.02).index.set_index("file")
    assert index["row"].isna().sum() == 1
    assert re.search(reason, index["status"][bad.relative_to(tmp_path).as_posix()])


def without_a_column(table: pd.DataFrame) -> str:
    return table.drop(columns="moa").to_csv(index=False)


def with_a_column_twice(table: pd.DataFrame) -> str:
    return pd.concat([table, table["moa"]], axis=1).to_csv(index=False)


def with_a_cell_twice(table: pd.DataFrame) -> str:
    return pd.concat([table, table.iloc[:1]]).to_csv(index=False)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (without_a_column, "the column moa is missing"),
        (with_a_column_twice, "the column moa is there 2 times"),
        (with_a_cell_twice, "lists the cell .* more than once"),
        (lambda table: "", "cannot be read"),
        (lambda table: table.iloc[:0].to_csv(index=False), "no row can be used"),
        (lambda table: table.assign(moa=np.nan).to_csv(index=False), "no moa"),
        (lambda table: table.assign(Image_Metadata_Concentration="x").to_csv(index=False), "no number"),
    ],
)
def test_an_unusable_table_is_refused_in_one_line(tmp_path, write, message):
    table = write_cells(tmp_path)
    (tmp_path / TABLE).write_text(write(table))
    with pytest.raises(UserError, match=message) as caught:
        prepare(tmp_path, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_folder_without_the_table_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"metadata\.csv: cannot be read"):
        prepare(tmp_path, tmp_path / "out")


def test_rows_without_a_mode_of_action_are_left_out_and_named(tmp_path, caplog):
    table = write_cells(tmp_path)
    taxol = table["moa"] == MODES["taxol"]
    table.assign(moa=table["moa"].where(~taxol)).to_csv(tmp_path / TABLE, index=False)
    prepared = prepare(tmp_path, tmp_path / "out")
    assert len(prepared.train) + len(prepared.test) == (~taxol).sum()
    assert set(prepared.index["status"]) == {"ok", "no moa"}
    assert f"left out: {taxol.sum()} rows" in caplog.text


def test_a_killed_preparation_goes_on_and_writes_the_same_files(tmp_path, monkeypatch):
    write_cells(tmp_path)
    whole = prepare(tmp_path, tmp_path / "whole")
    module = sys.modules["covary.images.prepare"]  # images.prepare is its function
    monkeypatch.setattr(module, "_SYNC_IMAGES", 8)
    seen = []

    def killed(path: Path, config: Cells):
        seen.append(path)
        if len(seen) == 30:
            raise KeyboardInterrupt
        return read_cell(path, config)

    monkeypatch.setattr(module, "read_cell", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, tmp_path / "out")
    resumed = prepare(tmp_path, tmp_path / "out")
    assert len(seen) == 30 + 90 - 24
    np.testing.assert_array_equal(resumed.train, whole.train)
    np.testing.assert_array_equal(resumed.test, whole.test)
