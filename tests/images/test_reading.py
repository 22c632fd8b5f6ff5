import numpy as np
import pytest
from PIL import Image

from covary.images.reading import UnreadableImage, read_grey


def noise(shape):
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


def test_8_bit_grey_is_read_as_it_is(tmp_path):
    pixels = noise((40, 30))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    grey, kind = read_grey(tmp_path / "a.png")
    np.testing.assert_array_equal(grey, pixels)
    assert kind == ""


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_grey_is_divided_by_257(tmp_path, name):
    values = np.array([[0, 128, 129, 257, 300, 32768, 65406, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / name)
    grey, kind = read_grey(tmp_path / name)
    assert grey.tolist() == [[0, 0, 1, 1, 1, 128, 254, 255]]
    assert kind == "16-bit grey"


def test_colour_becomes_luma(tmp_path):
    pixels = noise((9, 8, 3))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    grey, kind = read_grey(tmp_path / "a.png")
    np.testing.assert_allclose(grey, pixels @ [0.299, 0.587, 0.114], atol=0.51)
    assert kind == "colour"


def test_a_palette_is_looked_up(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), mode=None).convert("P")
    image.putpalette([200, 200, 200, 7, 7, 7])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png")
    grey, kind = read_grey(tmp_path / "a.png")
    assert grey.tolist() == [[200, 7]]
    assert kind == "colour"


def test_transparent_pixels_are_laid_over_black(tmp_path):
    pixels = np.array([[[255, 255, 255, 0], [100, 100, 100, 255]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    grey, kind = read_grey(tmp_path / "a.png")
    assert grey.tolist() == [[0, 100]]
    assert kind == "transparent"


def test_one_bit_becomes_black_and_white(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    grey, kind = read_grey(tmp_path / "a.png")
    assert grey.tolist() == [[255, 0]]
    assert kind == "1-bit"


def test_the_first_of_several_frames_is_taken(tmp_path):
    first, second = (Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (10, 20))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    grey, kind = read_grey(tmp_path / "a.tif")
    assert (grey == 10).all()
    assert kind == "several frames"


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["a.jpeg", "a.png"])
def test_a_truncated_file_is_unreadable(tmp_path, name, kept):
    path = tmp_path / name
    Image.fromarray(noise((120, 120))).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(UnreadableImage):
        read_grey(path)


def test_files_that_hold_no_image_are_unreadable(tmp_path):
    for content in (b"", b"not an image", b"\x89PNG\r\n\x1a\n" + bytes(40)):
        path = tmp_path / "a.png"
        path.write_bytes(content)
        with pytest.raises(UnreadableImage):
            read_grey(path)
    with pytest.raises(UnreadableImage, match="FileNotFoundError"):
        read_grey(tmp_path / "missing.png")


def test_32_bit_pixels_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableImage, match="expected 8 or 16 bits"):
        read_grey(tmp_path / "a.tif")
