"""From reflected power to a displayed B-scan: point spread, noise floor, speckle and grey scale."""

import numpy as np
from jaxtyping import Float, Float32, UInt8

NOISE_FLOOR = 0.11  # display value of the detector noise
_DECADES = 4.0  # a display value from 0 to 1 spans 40 dB
_NEPERS = np.float32(_DECADES * np.log(10))


def power(display: Float[np.ndarray, "..."] | float) -> Float32[np.ndarray, "..."]:
    """Linear power of a display value; display value 1 has power 1."""
    return np.asarray(np.exp((np.asarray(display, dtype=np.float32) - 1) * _NEPERS))


def blur(image: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
    """Blur with the kernel (1, 2, 1)/4 along both axes: a point spread 1.7 pixels wide at half maximum."""
    return _binomial(np.pad(image, 1, "edge"), 2, 2) * np.float32(1 / 16)


def log_speckle(
    shape: tuple[int, int], looks: float, rng: np.random.Generator
) -> Float32[np.ndarray, "height width"]:
    """Speckle as a term of the display value: log10(G)/4 with G ~ Gamma(looks, 1/looks).

    The power of fully developed speckle plus detector noise has an exponential distribution, and a Gamma
    distribution after `looks` frames are averaged. G is computed from a normal field x, correlated over 0.7
    pixels in depth and 1 pixel along the scan, by the Wilson–Hilferty cube, G ≈ (1 − 1/9L + x/3√L)³.
    """
    height, width = shape
    white = rng.standard_normal((height + 2, width + 4), dtype=np.float32)
    x = _binomial(white, 2, 4)
    x *= np.float32(1 / np.sqrt(6 * 70 * 9 * looks))  # Σ (1, 2, 1)² = 6 and Σ (1, 4, 6, 4, 1)² = 70
    x += np.float32(1 - 1 / (9 * looks))
    np.maximum(x, np.float32(0.05), out=x)
    np.log(x, out=x)
    x *= 3 / _NEPERS
    return x


def display(
    reflected: Float32[np.ndarray, "height width"], luminance: float, gain: float
) -> Float32[np.ndarray, "height width"]:
    """Grey levels 255·(luminance + gain·value), not rounded, of the power plus the noise floor."""
    grey = np.log(reflected + power(NOISE_FLOOR))
    grey *= np.float32(255 * gain) / _NEPERS
    grey += np.float32(255 * (gain + luminance))
    return grey


def quantise(grey: Float32[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
    """Round and clip to 8 bits."""
    return np.clip(grey + np.float32(0.5), 0, 255).astype(np.uint8)


def _binomial(image: np.ndarray, down: int, along: int) -> np.ndarray:
    """Valid convolution with unscaled binomial kernels of orders `down` and `along`: sums of neighbours."""
    for _ in range(down):
        image = image[:-1] + image[1:]
    for _ in range(along):
        image = image[:, :-1] + image[:, 1:]
    return image
