import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from covary.images.corners import corner_mask, fill_white_corners


def dark_image(seed=1, shape=(60, 80)):
    return np.random.default_rng(seed).integers(10, 120, shape).astype(np.uint8)


def wedge(shape=(60, 80), rows=20, columns=40):
    """White triangle at the upper left corner."""
    y, x = np.indices(shape)
    return y / rows + x / columns < 1


def test_a_wedge_is_filled_and_nothing_else_changes():
    scan = dark_image()
    for mask in (
        wedge(),
        wedge()[::-1],
        wedge()[:, ::-1],
        wedge()[::-1, ::-1],
        wedge() | wedge()[::-1, ::-1],
    ):
        image = np.where(mask, 255, scan).astype(np.uint8)
        found = corner_mask(image)
        assert found[mask].all()
        filled = fill_white_corners(image)
        np.testing.assert_array_equal(filled[~found], image[~found])
        rest = np.sort(image[~found])
        assert (filled[found] == rest[(len(rest) - 1) // 3]).all()


def test_the_mask_is_the_wedge_grown_by_two_pixels():
    image = np.full((30, 40), 50, np.uint8)
    image[:5, :7] = 255
    expected = np.zeros((30, 40), bool)
    expected[:7, :9] = True
    np.testing.assert_array_equal(corner_mask(image), expected)


def test_bright_tissue_away_from_the_corners_stays():
    image = dark_image()
    image[30:35] = 250  # a layer from side to side
    image[:10, 30:40] = 250  # at the border, not at a corner
    np.testing.assert_array_equal(fill_white_corners(image), image)


def test_what_hangs_off_a_wedge_sideways_stays():
    image = np.full((60, 80), 50, np.uint8)
    image[:20, :10] = 255
    image[15:18, 10:60] = (
        255  # joined to the corner, but neither straight up nor down leads out through white
    )
    mask = corner_mask(image)
    assert mask[:22, :12].all()
    assert not mask[:, 12:].any()


def test_an_image_that_is_white_all_over_stays():
    image = np.full((20, 30), 255, np.uint8)
    np.testing.assert_array_equal(fill_white_corners(image), image)


@given(
    arrays(
        np.uint8,
        st.tuples(st.integers(1, 25), st.integers(1, 25)),
        elements=st.sampled_from([0, 90, 200, 255]),
    )
)
def test_only_masked_pixels_change(image):
    filled = fill_white_corners(image)
    mask = corner_mask(image)
    np.testing.assert_array_equal(filled[~mask], image[~mask])
    corners = image[(0, 0, -1, -1), (0, -1, 0, -1)]
    assert mask.any() == (corners > 191).any()
