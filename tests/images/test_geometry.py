import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covary.images.geometry import centre_crop_or_pad, resize

COUNTED = np.arange(1, 31, dtype=np.uint8).reshape(5, 6)


def test_cropping_keeps_the_centre():
    np.testing.assert_array_equal(centre_crop_or_pad(COUNTED, 3, 4), COUNTED[1:4, 1:5])
    np.testing.assert_array_equal(centre_crop_or_pad(COUNTED, 2, 3), COUNTED[1:3, 1:4])


def test_padding_is_black_and_even():
    padded = centre_crop_or_pad(COUNTED, 8, 8)
    np.testing.assert_array_equal(padded[1:6, 1:7], COUNTED)
    assert padded.sum() == COUNTED.sum()


def test_one_axis_may_be_cropped_while_the_other_is_padded():
    mixed = centre_crop_or_pad(COUNTED, 3, 10)
    np.testing.assert_array_equal(mixed[:, 2:8], COUNTED[1:4])
    assert (mixed[:, :2] == 0).all()
    assert (mixed[:, 8:] == 0).all()


@given(*(st.integers(1, 20) for _ in range(6)))
def test_padding_then_cropping_gives_the_image_back(height, width, more_rows, more_columns, other_h, other_w):
    image = np.arange(height * width, dtype=np.uint8).reshape(height, width)
    larger = centre_crop_or_pad(image, height + more_rows, width + more_columns)
    np.testing.assert_array_equal(centre_crop_or_pad(larger, height, width), image)
    assert centre_crop_or_pad(image, other_h, other_w).shape == (other_h, other_w)


@pytest.mark.parametrize("size_px", [16, 64, 200])
def test_resizing_keeps_a_constant(size_px):
    assert (resize(np.full((2, 50, 70), 113, np.uint8), size_px) == 113).all()


def test_resizing_to_the_same_size_changes_nothing():
    image = np.random.default_rng(1).integers(0, 256, (3, 32, 32)).astype(np.uint8)
    np.testing.assert_array_equal(resize(image, 32), image)


def test_resizing_does_not_alias():
    stripes = np.tile(np.array([0, 255], np.uint8), (128, 64))
    inner = resize(stripes[None], 16)[0, :, 1:-1]
    assert np.abs(inner.astype(int) - 127.5).max() < 4  # point sampling would give 0 or 255
