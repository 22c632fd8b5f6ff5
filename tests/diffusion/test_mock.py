"""Stand-ins for generated images."""

import numpy as np

from covary.diffusion.mock import mock_images


def test_z_can_be_read_back():
    z = np.random.default_rng(1).normal(size=(400, 8)).astype(np.float32)
    images = mock_images(z, 16)
    assert images.shape == (400, 1, 16, 16) and images.dtype == np.uint8
    pixels = images.reshape(400, -1).astype(float)
    found = (
        np.column_stack([pixels, np.ones(400)])
        @ np.linalg.lstsq(np.column_stack([pixels, np.ones(400)]), z, rcond=None)[0]
    )
    assert 1 - np.var(found - z) / np.var(z) > 0.98


def test_an_image_depends_on_its_own_z():
    z = np.random.default_rng(1).normal(size=(2000, 4)).astype(np.float32)
    np.testing.assert_array_equal(mock_images(z, 16)[1500:1503], mock_images(z[1500:1503], 16))
