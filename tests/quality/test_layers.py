import numpy as np
import pytest

from covary import rng
from covary.quality.layers import depth_spectrum, fine_detail, layer_continuity


def layers(tilt: float = 0.0, n: int = 4, size_px: int = 64) -> np.ndarray:
    """Bright lines of various depths that run through the image, tilted."""
    depth = np.arange(size_px)[:, None] - tilt * np.arange(size_px)[None, :]
    images = [127 + 100 * np.sin(2 * np.pi * (depth + 3 * i) / 9.0) for i in range(n)]
    return np.stack(images)[:, None].round().astype(np.uint8)


@pytest.mark.parametrize("tilt", [0.0, 0.5, -0.75])
def test_layers_that_run_through_are_continuous_whatever_their_tilt(tilt):
    assert layer_continuity(layers(tilt)) > 0.97


def test_shuffled_columns_have_the_detail_but_not_the_continuity():
    images = (layers(0.2).astype(float) * rng.uniform(1, "lines", 0, 64, (1,)).T).astype(np.uint8)
    shuffled = np.stack([np.roll(images[..., i], 17 * i, axis=2) for i in range(64)], axis=-1)
    noise = (255 * rng.uniform(1, "noise", 0, 4, (1, 64, 64))).astype(np.uint8)
    assert fine_detail(shuffled, images) == pytest.approx(1)  # a shift changes no power
    assert layer_continuity(noise) < 0.4 < layer_continuity(images)


def test_the_spectrum_has_the_power_of_the_image():
    """Parseval: the power of all frequencies is the variance along depth."""
    images = layers(0.3)
    values = images / 255
    powers = depth_spectrum(images)
    double = np.r_[np.full(len(powers) - 1, 2.0), 1.0]  # all but the highest stand for two frequencies
    assert (powers * double).sum() / 64**2 == pytest.approx(values.var(axis=2).mean())


def test_blur_takes_detail_away():
    images = layers()
    blurred = ((images.astype(int) + np.roll(images, 1, axis=2) + np.roll(images, -1, axis=2)) // 3).astype(
        np.uint8
    )
    sharp = (255 * rng.uniform(1, "sharp", 0, 4, (1, 64, 64))).astype(np.uint8)
    soft = ((sharp.astype(int) + np.roll(sharp, 1, axis=2)) // 2).astype(np.uint8)
    assert fine_detail(soft, sharp) < 0.5
    assert fine_detail(blurred, images) < 1
