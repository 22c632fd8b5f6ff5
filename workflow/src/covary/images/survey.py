"""The first look at a folder: which channels its images have, and in which range their values lie."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Shaped, UInt8

from covary.config.images import Images, Window
from covary.errors import UserError
from covary.images.channels import GREY, RGB
from covary.images.reading import UnreadableImage, read_picture, shallow_channels
from covary.jobs.parallel import ordered_map

log = logging.getLogger(__name__)

_SAMPLE_PX = 4096  # of each image and channel, from which percentiles are computed
_PERCENTILES = 0.5, 99.5


@dataclass(frozen=True)
class Survey:
    """What all images of a folder have in common.

    `channels` are those of the files. Values of channel c that are scaled go from `low[c]` … `high[c]` to
    0 … 255. `scales_8_bit` says whether this is so for 8-bit files, too.
    """

    channels: tuple[str, ...]
    low: tuple[float, ...] | None
    high: tuple[float, ...] | None
    scales_8_bit: bool

    def to_8_bit(self, pixels: Shaped[np.ndarray, "c h w"]) -> UInt8[np.ndarray, "c h w"]:
        """Values scaled and clipped to 0 … 255; 8-bit values as they are unless these are scaled, too."""
        if pixels.dtype == np.uint8 and not self.scales_8_bit:
            return pixels
        low, high = (np.array(bound)[:, None, None] for bound in (self.low, self.high))
        scaled = (pixels - low) * 255 / (high - low)
        return np.rint(scaled.clip(0, 255)).astype(np.uint8)


@dataclass(frozen=True)
class _Seen:
    """What one file has; nothing if it cannot be read."""

    channels: tuple[str, ...] = ()
    deep: bool = False
    low: Float64[np.ndarray, " c"] | None = None
    high: Float64[np.ndarray, " c"] | None = None
    sample: Float64[np.ndarray, "c sample"] | None = None


def survey(paths: Sequence[Path], config: Images, workers: int) -> Survey:
    """Look at all images once; decode those whose range of values matters. Says in the log what it found.

    A folder of grey and colour images counts as one of colour images. Otherwise the channels are those that
    most files have. Raises UserError if all values are alike.
    """
    seen = list(ordered_map(partial(_look, config), list(paths), workers, "look at images"))
    counts = Counter(one.channels for one in seen if one.channels)
    if not counts:
        return Survey(GREY, None, None, scales_8_bit=False)
    channels = RGB if set(counts) == {GREY, RGB} else max(counts, key=lambda names: (counts[names], names))
    matching = [one for one in seen if fits(one.channels, channels)]
    deep = sum(one.deep for one in matching)
    if 0 < deep < len(matching):
        log.warning("images of 8 bits and of more are mixed: %d and %d", len(matching) - deep, deep)
    scales_8_bit = config.intensity != "range"
    if not deep and not scales_8_bit:
        return Survey(channels, None, None, scales_8_bit=False)
    low, high = _range([one for one in matching if one.deep or scales_8_bit], config, len(channels))
    if channels == RGB:  # colours keep their balance
        low, high = np.full(3, low.min()), np.full(3, high.max())
    if flat := [name for name, a, b in zip(channels, low, high, strict=True) if not a < b]:
        raise UserError(f"images.intensity: all values of {', '.join(flat)} are {low.min():g}; the images "
                        "have no contrast")  # fmt: skip
    for name, a, b in zip(channels, low, high, strict=True):
        log.info("values %g … %g of %s are scaled to 0 … 255 (images.intensity)", a, b, name)
    return Survey(channels, tuple(low.tolist()), tuple(high.tolist()), scales_8_bit)


def fits(channels: tuple[str, ...], expected: tuple[str, ...]) -> bool:
    """Whether a file with these channels can be one of a folder with the expected ones."""
    return channels == expected or (channels == GREY and expected == RGB)


def _look(config: Images, path: Path) -> _Seen:
    try:
        if config.intensity == "range" and (names := shallow_channels(path, config.pages)):
            return _Seen(names)
        picture = read_picture(path, config.pages)
    except UnreadableImage:
        return _Seen()
    flat = picture.pixels.reshape(len(picture.pixels), -1).astype(np.float64)
    step = max(1, flat.shape[1] // _SAMPLE_PX)
    sample = flat[:, ::step] if config.intensity == "percentiles" else None
    return _Seen(picture.channels, picture.is_deep, flat.min(axis=1), flat.max(axis=1), sample)


def _range(
    seen: list[_Seen], config: Images, n_channels: int
) -> tuple[Float64[np.ndarray, " c"], Float64[np.ndarray, " c"]]:
    """The least and the greatest value of each channel that is not cut off."""
    if isinstance(config.intensity, Window):
        return np.full(n_channels, config.intensity.low), np.full(n_channels, config.intensity.high)
    if config.intensity == "percentiles":
        values = np.concatenate([np.broadcast_to(s.sample, (n_channels, s.sample.shape[1])) for s in seen], 1)
        low, high = np.percentile(values, _PERCENTILES, axis=1)
        return low, high
    lows, highs = (
        np.stack([np.broadcast_to(bound, n_channels) for bound in bounds])
        for bounds in zip(*((one.low, one.high) for one in seen), strict=True)
    )
    return lows.min(axis=0), highs.max(axis=0)
