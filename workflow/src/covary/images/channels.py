"""Names of channels, and which of an image's channels are kept."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from covary.errors import UserError

GREY = ("grey",)
RGB = ("red", "green", "blue")
# ITU-R 601 luma in units of 1/65536, rounded half up as Pillow does.
_LUMA = np.array([19595, 38470, 7471], np.uint32)


def numbered(n: int) -> tuple[str, ...]:
    """Names of n channels of which no more is known."""
    return tuple(f"channel_{i}" for i in range(n))


def kept(available: Sequence[str], wanted: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names of the channels that prepared images have.

    `available` are the channels of the files, `wanted` is the setting `images.channels`: None keeps all,
    `grey` makes one of all, a list of available names selects, and a list of as many other names renames.
    Raises UserError, in one line, if the list does neither.
    """
    if wanted is None:
        return tuple(available)
    if wanted == "grey":
        return GREY
    if set(wanted) <= set(available) or len(wanted) == len(available):
        return tuple(wanted)
    raise UserError(
        f"images.channels: must name some of the {len(available)} channels of the images "
        f"({', '.join(available)}) or rename all of them, got {', '.join(wanted)}"
    )


def are_stains(channels: Sequence[str]) -> bool:
    """Whether these are three channels other than red, green and blue, which figures show as stains."""
    return len(channels) == len(RGB) and tuple(channels) != RGB


def keep(
    pixels: UInt8[np.ndarray, "c h w"], available: Sequence[str], wanted: str | Sequence[str] | None
) -> UInt8[np.ndarray, "c2 h w"]:
    """The channels of an image that `kept` names. Grey is the luma of colours, or the mean of channels."""
    if wanted is None or tuple(wanted) == tuple(available):
        return pixels
    if wanted == "grey":
        if len(pixels) == 1:
            return pixels
        if tuple(available) == RGB:
            luma = np.tensordot(_LUMA, pixels.astype(np.uint32), axes=1)
            return ((luma + 0x8000) >> 16).astype(np.uint8)[None]
        return np.rint(pixels.mean(axis=0, keepdims=True)).astype(np.uint8)
    if set(wanted) <= set(available):
        return pixels[[available.index(name) for name in wanted]]
    return pixels
