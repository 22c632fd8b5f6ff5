import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from covary import figures
from covary.figures.style import look
from covary.wording import noise_label, percent

IMAGES = np.arange(4 * 8 * 8, dtype=np.uint8).reshape(4, 1, 8, 8)


def test_the_callers_settings_neither_matter_nor_change(tmp_path):
    figures.save(figures.reconstructions(IMAGES, IMAGES, IMAGES), tmp_path / "a.png")
    with mpl.rc_context({"font.size": 30, "savefig.dpi": 10, "axes.grid": False, "figure.facecolor": "red"}):
        before = dict(mpl.rcParams)
        figures.save(figures.reconstructions(IMAGES, IMAGES, IMAGES), tmp_path / "b.png")
        assert dict(mpl.rcParams) == before
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for suffix in ("svg", "png"):
        for name in ("a", "b"):
            figures.save(figures.examples(IMAGES, IMAGES, columns=2), tmp_path / f"{name}.{suffix}")
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    assert ET.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == 1440  # 7.2 in at 200 dots an inch


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.jpg: figures are written as \.svg or \.png"):
        figures.save(figures.examples(IMAGES, IMAGES), tmp_path / "a.jpg")


def test_labels():
    assert [percent(1 / (1 + v)) for v in (0, 1, 9, 18, 49)] == [
        f"{p}\u00a0%" for p in ("100", "50", "10", "5.3", "2")
    ]
    assert percent(0.7, 1) == "70.0\u00a0%" and percent(-0.012, 1) == "−1.2\u00a0%"
    assert noise_label(49.0) == "σ²\u00a0=\u00a049" and noise_label(0.5) == "σ²\u00a0=\u00a00.5"


def test_predictors_look_different_however_many_there_are():
    looks = [look(k) for k in range(25)]
    assert len(set(looks)) == 25
    assert len({of.colour for of in looks[:5]}) == 5
