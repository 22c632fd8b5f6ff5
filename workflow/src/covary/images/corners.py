"""White corners, which rotating a scan into place leaves, turned into background."""

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

_WHITE = 0.75 * 255  # brighter pixels can belong to a corner
_GROW_PX = 2


def corner_mask(image: UInt8[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Pixels of the white areas that touch a corner of the image.

    Bright areas connected to a corner, less the pixels from which neither straight up nor straight down
    stays in the area as far as the border, grown by two pixels on each side.
    """
    bright = image > _WHITE
    corners = (0, 0, -1, -1), (0, -1, 0, -1)
    if not bright[corners].any():
        return np.zeros_like(bright)
    areas, _ = ndimage.label(bright)
    touching = areas[corners]
    mask = np.isin(areas, touching[touching > 0])
    from_top = np.logical_and.accumulate(mask, axis=0)
    from_bottom = np.logical_and.accumulate(mask[::-1], axis=0)[::-1]
    square = np.ones((2 * _GROW_PX + 1,) * 2, bool)
    return ndimage.binary_dilation(from_top | from_bottom, square)


def fill_white_corners(image: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
    """Fill the white corners with background: the brightest of the darkest third of the other pixels.

    No other pixel changes. An image that is white all over stays as it is.
    """
    mask = corner_mask(image)
    rest = image[~mask]
    if rest.size in (0, image.size):
        return image
    background = np.partition(rest, (rest.size - 1) // 3)[(rest.size - 1) // 3]
    return np.where(mask, background, image)
