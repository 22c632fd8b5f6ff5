"""Speckle taken out by BM3D, as the paper did."""

import numpy as np
from jaxtyping import UInt8

from covary.errors import UserError


def denoise(image: UInt8[np.ndarray, "height width"], sd: float) -> UInt8[np.ndarray, "height width"]:
    """Both stages of BM3D (doi:10.1109/TIP.2020.3014721) for noise of standard deviation `sd` on 0 … 1,
    then a stretch to the full range of grey values. What spans less than one grey value stays as it is.

    Raises UserError if the package `bm3d` is not installed: it is free for non-commercial use only.
    """
    try:
        from bm3d import bm3d
    except ImportError:
        raise UserError(
            "images.denoise_sd: needs the package bm3d, which is free for non-commercial use only and not "
            "part of the environment; add it to the environment, or set the key to null"
        ) from None
    clean = bm3d(image / 255, sigma_psd=sd)
    low, high = clean.min(), clean.max()
    if high - low < 1 / 255:
        return image
    return np.rint(255 * (clean - low) / (high - low)).astype(np.uint8)
