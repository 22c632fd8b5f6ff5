"""Bring images to one size."""

from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def centre_crop_or_pad(
    image: UInt8[np.ndarray, "height width"], height_px: int, width_px: int
) -> UInt8[np.ndarray, "height_px width_px"]:
    """Keep the centre of each axis that is too long and pad each that is too short with black.

    An odd pixel is cut off, or added, at the end of the axis.
    """
    for axis, target in enumerate((height_px, width_px)):
        surplus = image.shape[axis] - target
        if surplus > 0:
            first = surplus // 2
            image = image[first : first + target] if axis == 0 else image[:, first : first + target]
        elif surplus < 0:
            before = -surplus // 2
            widths = [(0, 0), (0, 0)]
            widths[axis] = (before, -surplus - before)
            image = np.pad(image, widths)
    return image


def resize(
    image: UInt8[np.ndarray, "c height width"], size_px: int
) -> UInt8[np.ndarray, "c size_px size_px"]:
    """Resize to a square with a triangle filter that widens with the reduction, so nothing aliases."""
    size = size_px, size_px
    return np.stack([Image.fromarray(c).resize(size, Image.Resampling.BILINEAR) for c in image])


def fit(
    image: UInt8[np.ndarray, "c height width"],
    size_px: int,
    how: Literal["letterbox", "centre_square", "stretch"],
) -> UInt8[np.ndarray, "c size_px size_px"]:
    """Make an image a square of `size_px`.

    `letterbox` keeps the whole image and its aspect and puts black margins on both sides of the shorter axis;
    `centre_square` keeps the aspect and the middle of the longer axis; `stretch` keeps the whole image.
    """
    _, height_px, width_px = image.shape
    if how != "stretch" and height_px != width_px:
        side_px = (max if how == "letterbox" else min)(height_px, width_px)
        image = np.stack([centre_crop_or_pad(channel, side_px, side_px) for channel in image])
    return resize(image, size_px)
