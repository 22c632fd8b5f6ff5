"""Folders as people have them: every file is prepared as it is, or named and left out."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from files import write_png_16
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from covary import images
from covary.config.images import Images
from covary.errors import UserError

SIZE_PX = 16
KINDS = ("L", "RGB", "RGBA", "P", "1", "I;16", "RGB;16", "F", "bmp", "truncated", "nan", "link", "text")
FINE = {"L", "RGB", "RGBA", "P", "1", "I;16", "RGB;16", "F"}
GREY = {"L", "1", "I;16", "F"}
DEEP = {"I;16", "RGB;16", "F"}

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


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files)
def test_every_file_is_prepared_as_it_is_or_named_and_left_out(caplog, drawn):
    caplog.clear()
    with TemporaryDirectory() as scratch, caplog.at_level(logging.INFO, "covary"):
        folder, written = Path(scratch) / "folder", {}
        folder.mkdir()
        for i, (kind, height, width, name, where) in enumerate(drawn):
            suffix = {"bmp": ".bmp", "F": ".tif", "nan": ".tif"}.get(kind, ".png")
            file = f"{where}{i}{name}{suffix}"
            (folder / where).mkdir(parents=True, exist_ok=True)
            if where == "too/deep/":  # whatever it holds
                write(folder / file, kind, height, width, i)
                written[file] = "outside the layout", None
                continue
            written[file] = kind, write(folder / file, kind, height, width, i)
        config = Images(source="folder", folder="x", size_px=SIZE_PX, max_unreadable_fraction=1.0)
        out = Path(scratch) / "out"
        try:
            images.prepare(folder, out, config, 1, 1, out / "checkpoints")
        except UserError as error:
            assert "\n" not in str(error) and str(error).startswith(("images.", "no "))
            return
        prepared = images.load(out)
        index = prepared.index.set_index("file")
        assert set(index.index) == set(written)
        is_colour = any(kind in FINE - GREY for kind, _ in written.values())
        assert prepared.channels == (("red", "green", "blue") if is_colour else ("grey",))
        deep = [values for kind, values in written.values() if kind in DEEP]
        low = min((float(v.min()) for v in deep), default=0.0)
        high = max((float(v.max()) for v in deep), default=255.0)
        for file, (kind, values) in written.items():
            row = index.loc[file]
            if kind not in FINE:
                assert row["status"] != "ok" and row["status"] in caplog.text
                continue
            assert row["status"] == "ok"
            expected = values
            if kind in DEEP:
                expected = np.rint((values.astype(float) - low) * 255 / (high - low)).astype(np.uint8)
                assert "scaled to 8 bits" in row["conversion"]
            if len(values) < len(prepared.channels):
                expected = np.repeat(expected, 3, axis=0)
                assert "grey as three equal colours" in row["conversion"]
            found = (prepared.train if row["split"] == "train" else prepared.test)[row["row"]]
            np.testing.assert_array_equal(found, squared(expected))
            assert (row["conversion"] == "") == (
                kind in ("L", "RGB")
                and len(values) == len(prepared.channels)
                and values.shape[1] == values.shape[2]
            )
