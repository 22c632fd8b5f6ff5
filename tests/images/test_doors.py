"""Folders as people have them: every file is prepared as it is, or named and left out."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from deep_files import write_png_16
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from covary import images
from covary.config.images import Images
from covary.errors import UserError
from covary.images.prepare import find

SIZE_PX = 16
GREY = {"L", "LA", "1", "I;16", "F", "turned", "flat"}
FINE = GREY | {"RGB", "RGBA", "P", "RGB;16", "jpeg"}
DEEP = {"I;16", "RGB;16", "F"}
SEEN_TO_BE_NO_IMAGE = {"bmp", "link", "outside the layout"}  # without a look into the file
KINDS = sorted(FINE | {"bmp", "truncated", "nan", "link", "text"})
SUFFIXES = {"bmp": ".bmp", "F": ".tif", "nan": ".tif", "jpeg": ".jpg", "turned": ".jpeg"}
PATIENTS = {"scan-7-1": "7", "IM-0001-0001": "0001"}  # that names tell

files = st.lists(
    st.tuples(
        st.sampled_from(KINDS), st.sampled_from([4, 16, 30]), st.sampled_from([4, 16, 25]),
        st.sampled_from(["a", "scan-7-1", "person1_virus_0", "IM-0001-0001", "Ünï çode", "x.y"]),
        st.sampled_from(["", "A/", "with space/", "too/deep/"]),
    ),
    min_size=1, max_size=8,
)  # fmt: skip


def write(path: Path, kind: str, height: int, width: int, seed: int) -> np.ndarray | None:
    """Write a file of some kind; return the values that it holds, channels first."""
    draw = np.random.default_rng(seed)
    shape = (height, width)
    grey, colours = draw.integers(0, 256, shape, np.uint8), draw.integers(0, 256, (*shape, 3), np.uint8)
    match kind:
        case "L" | "bmp" | "truncated":
            Image.fromarray(grey).save(path)
            if kind == "truncated":
                path.write_bytes(path.read_bytes()[:40])
            return grey[None]
        case "RGB":
            Image.fromarray(colours).save(path)
            return np.moveaxis(colours, -1, 0)
        case "flat":
            Image.new("L", (width, height), 90).save(path)
            return np.full((1, height, width), 90, np.uint8)
        case "LA":
            alpha = draw.integers(0, 256, shape, np.uint8)
            Image.fromarray(np.dstack([grey, alpha])).save(path)
            return np.rint(grey.astype(float) * alpha / 255).astype(np.uint8)[None]
        case "jpeg":
            Image.fromarray(colours).save(path)
            return np.moveaxis(np.asarray(Image.open(path)), -1, 0)
        case "turned":
            exif = Image.Exif()
            exif[ExifTags.Base.Orientation] = 2 + seed % 7
            Image.fromarray(grey).save(path, exif=exif)
            return np.asarray(ImageOps.exif_transpose(Image.open(path)))[None]
        case "RGBA":
            Image.fromarray(np.dstack([colours, np.full(shape, 255, np.uint8)])).save(path)
            return np.moveaxis(colours, -1, 0)
        case "P":
            image = Image.fromarray(grey % 2)
            image.putpalette([10, 200, 30, 250, 0, 90])
            image.save(path)
            return np.moveaxis(np.array([[10, 200, 30], [250, 0, 90]], np.uint8)[grey % 2], -1, 0)
        case "1":
            Image.fromarray(grey > 127).save(path)
            return (255 * (grey > 127)).astype(np.uint8)[None]
        case "I;16":
            Image.fromarray(grey.astype(np.uint16) * 16).save(path)
            return (grey.astype(np.uint16) * 16)[None]
        case "RGB;16":
            write_png_16(path, colours.astype(np.uint16) * 16 + 3)
            return np.moveaxis(colours.astype(np.uint16) * 16 + 3, -1, 0)
        case "F" | "nan":
            values = grey.astype(np.float32) / 7
            values[0, 0] = np.nan if kind == "nan" else values[0, 0]
            Image.fromarray(values).save(path)
            return values[None]
        case "link":
            path.symlink_to(path.with_name("nowhere"))
        case _:
            path.write_text("no image")
    return None


def squared(values: np.ndarray) -> np.ndarray:
    """The image as the letterbox of the configuration makes it."""
    channels, height, width = values.shape
    side = max(height, width)
    square = np.zeros((channels, side, side), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[:, top : top + height, left : left + width] = values
    size = SIZE_PX, SIZE_PX
    return np.stack([Image.fromarray(c).resize(size, Image.Resampling.BILINEAR) for c in square])


def prepared_as(kind: str, values: np.ndarray, low: float, high: float, n_channels: int) -> np.ndarray:
    """What a file becomes in a folder where deeper values lie in low … high."""
    if kind in DEEP:
        values = np.rint((values.astype(float) - low) * 255 / (high - low)).astype(np.uint8)
    return squared(np.repeat(values, n_channels // len(values), axis=0))


def refusal_due(
    kinds: dict[str, str],
    patients: dict[str, str],
    expected: dict[str, np.ndarray],
    share: float,
    split_of: Callable[[], pd.Series],
) -> str:
    """The pattern of the line that must refuse a folder; empty if the folder must be prepared.

    `expected` is what each good file becomes, `share` is the most that may be bad, and `split_of` says the
    split of each file, once there are two patients to split.
    """
    opened = [file for file, kind in kinds.items() if kind not in SEEN_TO_BE_NO_IMAGE]
    if not opened:
        return "images.folder: .* holds no image that can be used"
    if len({patients[file] for file in opened}) == 1:
        return "images.folder: .* has images of 1 patient"
    if sum(file not in expected for file in opened) > share * len(opened):
        return "images.max_unreadable_fraction: "
    split = split_of()
    for part in ("train", "test"):
        if not any(split[file] == part for file in expected):
            return f"no {part} image in .* can be read"
    train = [expected[file] for file in expected if split[file] == "train"]
    if all((image == image[:, :1, :1]).all() for image in train):
        return "images.folder: the prepared images have no contrast"
    if len(train) > 1 and all((image == train[0]).all() for image in train):
        return "images.folder: the prepared images are all alike"
    return ""


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files, st.sampled_from([0.0, 0.4, 1.0]))
@example([("flat", 16, 16, "a", "")] * 4, 1.0)  # no contrast
@example([("flat", 30, 16, "a", "")] * 4, 1.0)  # black margins, but all alike
@example([("flat", 30, 16, "a", "")] * 4 + [("L", 16, 16, "a", "")] * 4, 0.0)
def test_every_file_is_prepared_as_it_is_or_named_and_left_out(caplog, drawn, share):
    caplog.clear()
    with TemporaryDirectory() as scratch, caplog.at_level(logging.INFO, "covary"):
        folder, written, patients = Path(scratch) / "folder", {}, {}
        folder.mkdir()
        for i, (kind, height, width, name, where) in enumerate(drawn):
            file = f"{where}{i}{name}{SUFFIXES.get(kind, '.png')}"
            (folder / where).mkdir(parents=True, exist_ok=True)
            values = write(folder / file, kind, height, width, i)
            # Whatever lies too deep is not looked at.
            written[file] = (kind, values) if where != "too/deep/" else ("outside the layout", None)
            patients[file] = PATIENTS.get(name, file) if where == "" else file
        fine = {file: (kind, values) for file, (kind, values) in written.items() if kind in FINE}
        names = ("red", "green", "blue") if any(k not in GREY for k, _ in fine.values()) else ("grey",)
        deep = [values for kind, values in fine.values() if kind in DEEP]
        low = min((float(v.min()) for v in deep), default=0.0)
        high = max((float(v.max()) for v in deep), default=255.0)
        expected = {file: prepared_as(*one, low, high, len(names)) for file, one in fine.items()}
        config = Images(source="folder", folder="x", size_px=SIZE_PX, max_unreadable_fraction=share)
        out = Path(scratch) / "out"
        try:
            images.prepare(folder, out, config, 1, 1, out / "checkpoints")
            refused = ""
        except UserError as error:
            refused = str(error)
        kinds = {file: kind for file, (kind, _) in written.items()}
        due = refusal_due(
            kinds, patients, expected, share, lambda: find(folder, config, 1).set_index("file")["split"]
        )
        if due:
            assert re.fullmatch(f"{due}[^\n]*", refused)
            return
        assert refused == ""
        prepared = images.load(out)
        assert prepared.channels == names
        index = prepared.index.set_index("file")
        assert set(index.index) == set(written)
        for file, (kind, values) in written.items():
            row = index.loc[file]
            if kind not in FINE:
                assert row["status"] != "ok" and row["status"] in caplog.text
                continue
            assert row["status"] == "ok"
            found = (prepared.train if row["split"] == "train" else prepared.test)[row["row"]]
            np.testing.assert_array_equal(found, expected[file])
            assert ("scaled to 8 bits" in row["conversion"]) == (kind in DEEP)
            assert ("grey as three equal colours" in row["conversion"]) == (len(values) < len(names))
            assert (row["conversion"] == "") == (
                kind in ("L", "RGB", "flat", "jpeg")
                and len(values) == len(names)
                and values.shape[1] == values.shape[2]
            )
