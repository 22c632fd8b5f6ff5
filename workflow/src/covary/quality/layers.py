"""Sharpness of scans along depth, and continuity of their layers from column to column."""

import numpy as np
from jaxtyping import Float, Float64, UInt8

DISTANCE_PX = 4  # between the columns that are compared
_LARGEST_SHIFT_PX = 4


def depth_spectrum(images: UInt8[np.ndarray, "n c h w"]) -> Float64[np.ndarray, " frequency"]:
    """Mean power of each spatial frequency along the columns, over images; without the mean of a column."""
    values = images.astype(np.float64) / 255
    return np.square(np.abs(np.fft.rfft(values, axis=2)[:, :, 1:])).mean(axis=(0, 1, 3))


def fine_detail(images: UInt8[np.ndarray, "n c h w"], real: UInt8[np.ndarray, "m c h w"]) -> float:
    """Power in the upper half of the frequencies along depth, as a share of that in real images."""
    found, wanted = depth_spectrum(images), depth_spectrum(real)
    upper = slice(len(wanted) // 2, None)
    return float(found[upper].sum() / wanted[upper].sum())


def layer_continuity(images: UInt8[np.ndarray, "n c h w"]) -> float:
    """How alike the edges of columns `DISTANCE_PX` apart are, after the best shift along depth.

    The mean, over images and columns, of the largest correlation of the gradients along depth. 1 where layers
    run through; what chance gives where edges end from one column to the next.
    """
    gradient = np.diff(images.astype(np.float64).mean(axis=1), axis=1)
    left, right = gradient[:, :, :-DISTANCE_PX], gradient[:, :, DISTANCE_PX:]
    inner = slice(_LARGEST_SHIFT_PX, -_LARGEST_SHIFT_PX)
    shifts = range(-_LARGEST_SHIFT_PX, _LARGEST_SHIFT_PX + 1)
    alike = [_correlation(left[:, inner], np.roll(right, shift, axis=1)[:, inner]) for shift in shifts]
    return float(np.max(alike, axis=0).mean())


def _correlation(
    a: Float[np.ndarray, "n depth column"], b: Float[np.ndarray, "n depth column"]
) -> Float64[np.ndarray, "n column"]:
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    size = np.sqrt(np.square(a).sum(axis=1) * np.square(b).sum(axis=1))
    return (a * b).sum(axis=1) / np.maximum(size, 1e-12)
