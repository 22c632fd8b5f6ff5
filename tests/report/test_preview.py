"""The page before a run: the images that the run will see, and what it will say of them."""

import base64
import io
import re

import numpy as np
import pytest
import yaml
from PIL import Image

from covary import images
from covary.cli import main
from covary.config import reading
from covary.images.preview import preview
from covary.report.preview import write_preview

SIZE_PX = 32


@pytest.fixture
def folder(tmp_path):
    """Fifty photographs of sorts, one of them damaged, and a file of another kind."""
    made = tmp_path / "mine"
    made.mkdir()
    draw = np.random.default_rng(0)
    for i in range(50):
        Image.fromarray(draw.integers(0, 256, (24, 40, 3), np.uint8)).save(made / f"{i:02d}.png")
    (made / "00.png").write_bytes((made / "00.png").read_bytes()[:200])
    (made / "scan.webp").write_bytes(b"")
    return made


def config_of(folder, **keys):
    settings = {"source": "folder", "folder": str(folder), "size_px": SIZE_PX, **keys}
    return reading.check({"experiment": "mine", "images": settings})


def test_a_look_shows_what_the_run_will_see(folder, tmp_path):
    settings = config_of(folder, max_unreadable_fraction=0.1).images
    seen = preview(folder, settings, 1, 1)
    assert seen.channels == ("red", "green", "blue")
    assert sum(seen.images.values()) == 50 and len(seen.shown) == 39
    assert seen.conversions == {"black margins": 39}
    assert {(one.files, one.example) for one in seen.left_out} == {(1, "00.png"), (1, "scan.webp")}
    assert any("which patient 50 of 50 images show" in line for line in seen.warnings)
    assert any(line.startswith("1 of 40 images tried cannot be used") for line in seen.warnings)
    images.prepare(folder, tmp_path / "out", settings, 1, 1, tmp_path / "checkpoints")
    prepared = images.load(tmp_path / "out")
    rows = prepared.index.set_index("file")
    for one in seen.shown:
        array = getattr(prepared, one.split)
        assert rows["split"][one.file] == one.split and rows["conversion"][one.file] == one.note
        np.testing.assert_array_equal(one.pixels, array[rows["row"][one.file]])
        np.testing.assert_allclose(one.histogram.sum(axis=1), 1)


def test_images_without_contrast_or_mostly_black_are_warned_of(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for i in range(4):
        Image.fromarray(np.full((20, 20), 7 * (i > 3), np.uint8)).save(folder / f"{i}.png")
    seen = preview(folder, config_of(folder).images, 1, 1)
    assert any(
        line.startswith("The prepared images have no contrast") and line.endswith("so for all images.")
        for line in seen.warnings
    )
    assert any(line.startswith("100% of the prepared pixels are black") for line in seen.warnings)


def test_the_page_needs_no_other_file_and_its_pictures_are_the_pixels(folder, tmp_path):
    page = tmp_path / "preview.html"
    write_preview(config_of(folder), page, 1)
    html = page.read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!data:)', html)
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    shown = preview(folder, config_of(folder).images, 20241, 1).shown
    assert len(pictures) == html.count("<svg") == len(shown) == 39
    for text, one in zip(pictures, shown, strict=True):
        with Image.open(io.BytesIO(base64.b64decode(text))) as image:
            np.testing.assert_array_equal(np.moveaxis(np.asarray(image), -1, 0), one.pixels)
    assert "scan.webp" in html and "Read this first" in html and "So few images" in html


def test_the_command_writes_the_page_beside_the_results(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    side = {"height_px": 64, "width_px": 64}
    phantoms = {"size_px": SIZE_PX, "phantom": side, "oct": {"crop": side}}
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("")
    own = tmp_path / "config" / "mine.yaml"
    own.write_text(yaml.safe_dump({"experiment": "mine", "images": phantoms}))
    assert main(["preview", "mine"]) == 0
    page = tmp_path / "results" / "mine" / "preview.html"
    assert capsys.readouterr().out == f"Preview: {page}\n"
    html = page.read_text(encoding="utf-8")
    assert "1,800 images to train on and 240 held out" in html and "Nothing to warn of" in html
    assert "White corners are filled" in html and "middle 64 rows" in html
    own.write_text("# experiment: mine\n")
    assert main(["preview", "mine"]) == 1
    assert capsys.readouterr().err.startswith("error: config/mine.yaml: the key experiment must be given")
    own.write_text("experiment: mine\nimages: {source: folder, folder: nowhere}")
    assert main(["preview", "mine"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error: images.folder: nowhere is not a folder"
    assert main(["preview", "yours"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: there is no config/yours.yaml; experiments here: demo, mine"
    )
    for name in ("mien", "mine.yaml", "config/mine.yaml"):
        assert main(["preview", name]) == 1
        assert capsys.readouterr().err.endswith(".yaml; did you mean mine?\n")
    monkeypatch.chdir(tmp_path / "results")
    assert main(["preview"]) == 1
    assert "go to the folder of the workflow first" in capsys.readouterr().err
