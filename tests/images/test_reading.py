import numpy as np
import pytest
from deep_files import write_png_16, write_tiff_16
from PIL import Image

from covary.images.channels import GREY, RGB
from covary.images.reading import UnreadableImage, read_picture, shallow_channels


def noise(shape, most=256):
    return np.random.default_rng(1).integers(0, most, shape).astype(np.uint8 if most == 256 else np.uint16)


def test_8_bit_grey_is_read_as_it_is(tmp_path):
    pixels = noise((40, 30))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, pixels[None])
    assert (picture.channels, picture.notes, picture.is_deep) == (GREY, (), False)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_grey_keeps_its_values(tmp_path, name):
    values = np.array([[0, 128, 129, 257, 300, 32768, 65406, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / name)
    picture = read_picture(tmp_path / name)
    np.testing.assert_array_equal(picture.pixels, values[None])
    assert picture.is_deep and shallow_channels(tmp_path / name) is None


@pytest.mark.parametrize("name", ["a.png", "little.tif", "big.tif", "deflated.tif", "big_deflated.tif"])
def test_16_bit_colours_keep_all_their_bits(tmp_path, name):
    values = noise((5, 7, 3), 65536)
    if name == "a.png":
        write_png_16(tmp_path / name, values)
    else:
        write_tiff_16(tmp_path / name, values, ">" if "big" in name else "<", deflate="deflated" in name)
    picture = read_picture(tmp_path / name)
    np.testing.assert_array_equal(picture.pixels, np.moveaxis(values, -1, 0))
    assert picture.channels == RGB and shallow_channels(tmp_path / name) is None


def test_16_bit_transparency_is_laid_over_black_or_refused(tmp_path):
    values = noise((5, 7, 4), 65536)
    values[..., 3] = 0xFFFF
    write_png_16(tmp_path / "opaque.png", values)
    np.testing.assert_array_equal(
        read_picture(tmp_path / "opaque.png").pixels, np.moveaxis(values[..., :3], -1, 0)
    )
    values[..., 3] = 0
    write_png_16(tmp_path / "clear.png", values)
    assert (read_picture(tmp_path / "clear.png").pixels == 0).all()
    write_png_16(tmp_path / "grey.png", values[..., :2])
    with pytest.raises(UnreadableImage, match="layout that is not supported"):
        read_picture(tmp_path / "grey.png")


def test_colours_are_kept(tmp_path):
    pixels = noise((9, 8, 3))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, np.moveaxis(pixels, -1, 0))
    assert (picture.channels, picture.notes) == (RGB, ())
    assert shallow_channels(tmp_path / "a.png") == RGB


@pytest.mark.parametrize(
    ("palette", "channels", "expected"),
    [
        ([200, 200, 200, 7, 7, 7], GREY, [[[200, 7]]]),
        ([200, 0, 9, 7, 7, 7], RGB, [[[200, 7]], [[0, 7]], [[9, 7]]]),
    ],
)
def test_a_palette_is_looked_up(tmp_path, palette, channels, expected):
    image = Image.new("P", (2, 1))
    image.putpalette(palette)
    image.putdata([0, 1])
    image.save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert picture.pixels.tolist() == expected
    assert (picture.channels, picture.notes) == (channels, ("palette looked up",))
    assert shallow_channels(tmp_path / "a.png") == channels


@pytest.mark.parametrize(("mode", "channels"), [("LA", 1), ("RGBA", 3)])
def test_transparent_pixels_are_laid_over_black(tmp_path, mode, channels):
    pixels = np.array([[[255] * channels + [0], [100] * channels + [255]]], np.uint8)
    Image.fromarray(pixels, mode).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert picture.pixels.tolist() == [[[0, 100]]] * channels
    assert picture.notes == ("transparent pixels laid over black",)
    pixels[..., -1] = 255
    Image.fromarray(pixels, mode).save(tmp_path / "b.png")
    picture = read_picture(tmp_path / "b.png")
    assert picture.pixels.tolist() == [[[255, 100]]] * channels
    assert picture.notes == ("opaque transparency dropped",)


def test_one_bit_becomes_black_and_white(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert picture.pixels.tolist() == [[[255, 0]]]
    assert picture.notes == ("1-bit to black and white",)


def test_pages_of_a_tiff_file_are_channels_or_only_the_first_is_read(tmp_path):
    pages = noise((4, 6, 5), 65536)
    first, *others = map(Image.fromarray, pages)
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    picture = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.pixels, pages)
    assert picture.channels == ("channel_0", "channel_1", "channel_2", "channel_3")
    picture = read_picture(tmp_path / "a.tif", pages="first")
    np.testing.assert_array_equal(picture.pixels, pages[:1])
    assert picture.notes == ("first of 4 pages",)


def test_pages_of_different_size_are_no_channels(tmp_path):
    first, second = (Image.fromarray(noise(shape)) for shape in ((8, 8), (4, 4)))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    with pytest.raises(UnreadableImage, match=r"2 pages .* images\.pages: first"):
        read_picture(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path, orientation):
    """A camera that was turned stores the upright picture turned the other way."""
    upright = noise((6, 4))
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, upright[None])
    assert picture.notes == (("turned upright by EXIF",) if orientation > 1 else ())


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["a.jpeg", "a.png"])
def test_a_truncated_file_is_unreadable(tmp_path, name, kept):
    path = tmp_path / name
    Image.fromarray(noise((120, 120))).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(UnreadableImage):
        read_picture(path)


def test_files_that_hold_no_image_are_unreadable(tmp_path):
    for content in (b"", b"not an image", b"\x89PNG\r\n\x1a\n" + bytes(40)):
        path = tmp_path / "a.png"
        path.write_bytes(content)
        for read in (read_picture, shallow_channels):
            with pytest.raises(UnreadableImage):
                read(path)
    with pytest.raises(UnreadableImage, match="FileNotFoundError"):
        read_picture(tmp_path / "missing.png")


def test_too_many_pixels_are_said_in_our_words(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("L", (40, 40)).save(tmp_path / "large.png")
    for read in (read_picture, shallow_channels):
        with pytest.raises(UnreadableImage, match=r"^has more than 200 pixels, .* reduce it first$"):
            read(tmp_path / "large.png")


def test_floats_are_read_unless_they_are_no_brightness(tmp_path):
    values = np.array([[0.0, 0.25], [3.5, 1e6]], np.float32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif").pixels, values[None])
    for value, reason in (
        (np.nan, "not finite"),
        (np.inf, "not finite"),
        (-2.5, r"negative values \(-2\.5\)"),
    ):
        Image.fromarray(np.where(values == 0, np.float32(value), values)).save(tmp_path / "b.tif")
        with pytest.raises(UnreadableImage, match=reason):
            read_picture(tmp_path / "b.tif")
