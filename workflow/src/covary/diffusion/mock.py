"""Stand-ins for generated images, for tests of scale: made in no time, and z can be read back from them."""

import numpy as np
from jaxtyping import Float, UInt8

_CONTRAST = 20.0  # grey levels for one standard deviation of a latent
_BLOCK = 1024


def mock_images(
    z: Float[np.ndarray, "n latent"], size_px: int, channels: int = 1
) -> UInt8[np.ndarray, "n channel size size"]:
    """Images with equal channels, each the sum of one cosine pattern a latent, as bright as z says."""
    patterns = _cosines(z.shape[1], size_px).reshape(z.shape[1], -1)
    images = np.empty((len(z), size_px * size_px), np.uint8)
    for i in range(0, len(z), _BLOCK):
        part = slice(i, i + _BLOCK)
        images[part] = np.clip(128 + _CONTRAST * (z[part].astype(np.float32) @ patterns), 0, 255)
    return np.repeat(images.reshape(len(z), 1, size_px, size_px), channels, axis=1)


def _cosines(n: int, size_px: int) -> Float[np.ndarray, "n size size"]:
    """The n lowest frequencies of the discrete cosine transform in two dimensions, without the mean."""
    at = (np.arange(size_px, dtype=np.float32) + 0.5) * np.pi / size_px
    waves = np.cos(np.arange(size_px, dtype=np.float32)[:, None] * at)
    order = sorted((i + j, i, j) for i in range(size_px) for j in range(size_px))[1 : n + 1]
    return np.stack([np.outer(waves[i], waves[j]) for _, i, j in order])
