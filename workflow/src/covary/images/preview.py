"""A look at a folder before anything is trained: what some of its images become, and what is said of them."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64, UInt8

from covary.config.images import Images
from covary.errors import UserError
from covary.images import channels
from covary.images.prepare import fault_of_contrast, find, look_at, prepare_file
from covary.images.sources import OK, SPLITS
from covary.jobs.parallel import ordered_map

_SURVEYED = 200  # images whose range of values is looked at
_BINS = 32
_MOSTLY = 0.5
_FITTED = {
    "letterbox": "Whole images are fitted into squares of {} pixels, with black margins if needed.",
    "centre_square": "The middle square of each image is kept and resized to {} pixels.",
    "stretch": "Images are resized to squares of {} pixels, whatever their shape.",
}


@dataclass(frozen=True)
class Shown:
    """One image as the VAE will see it: its file, split, what was done to it, and a histogram per channel.

    A histogram has the share of the pixels in each of 32 equal bins of 0 … 255.
    """

    file: str
    split: str
    pixels: UInt8[np.ndarray, "c size size"]
    note: str
    histogram: Float64[np.ndarray, "c bin"]


@dataclass(frozen=True)
class LeftOut:
    """Files that are left out for one reason."""

    reason: str
    files: int
    example: str


@dataclass(frozen=True)
class Preview:
    """What the preparation of a folder will do.

    `images` are those usable per split, and `left_out` the others, of the whole folder. `shown` and what was
    converted (`conversions`, counted) are of a sample. `facts` and `warnings` are lines for the reader.
    """

    channels: tuple[str, ...]
    images: dict[str, int]
    shown: list[Shown]
    conversions: dict[str, int]
    left_out: list[LeftOut]
    facts: list[str]
    warnings: list[str]


def preview(folder: Path, config: Images, seed: int, workers: int, shown: int = 40) -> Preview:
    """Prepare some images, evenly over the sorted files of a folder, as `prepare` will.

    The range of values is taken from at most 200 images; `prepare` takes it from all. Raises UserError if
    the folder cannot be prepared, or if no image of the sample can be read.
    """
    with _said() as lines:
        listed = find(folder, config, seed)
        table = listed[listed["status"] == OK].reset_index(drop=True)
        paths = [folder / file for file in table["file"]]
        seen = look_at([paths[i] for i in _spread(len(paths), _SURVEYED)], config, workers)
        names = channels.kept(seen.channels, config.channels)
    some = _spread(len(paths), shown)
    found = list(
        ordered_map(partial(prepare_file, config, seen), [paths[i] for i in some], workers, "images")
    )
    fine = [
        Shown(table["file"][i], table["split"][i], images[0], note, _histogram(images[0]))
        for i, (images, note) in zip(some, found, strict=True)
        if images
    ]
    if not fine:
        raise UserError(f"images.folder: none of {len(some)} images tried can be read; {found[0][1]}")
    unread = [(table["file"][i], note) for i, (images, note) in zip(some, found, strict=True) if not images]
    facts = [line for level, line in lines if level < logging.WARNING]
    if len(paths) > _SURVEYED:
        facts.append(f"This look took the range of values from {_SURVEYED} of {len(paths):,} images; a run "
                     "takes it from all.")  # fmt: skip
    return Preview(
        channels=names,
        images={split: int((table["split"] == split).sum()) for split in SPLITS},
        shown=fine,
        conversions=dict(Counter(one.note for one in fine if one.note).most_common()),
        left_out=[*_left_out(listed), *(LeftOut(reason, 1, file) for file, reason in unread)],
        facts=[*_treatment(config), *facts],
        warnings=[line for level, line in lines if level >= logging.WARNING]
        + _warnings(fine, unread, config),
    )


def _warnings(fine: Sequence[Shown], unread: Sequence[tuple[str, str]], config: Images) -> list[str]:
    """What may spoil a run although nothing stops it yet."""
    pixels = np.stack([one.pixels for one in fine])
    fault = fault_of_contrast(pixels)
    lines = [f"{_sentence(fault)} A run stops if this is so for all images."] if fault else []
    if unread:
        lines.append(
            f"{len(unread)} of {len(unread) + len(fine)} images tried cannot be used. A run stops if this is "
            f"a larger share than images.max_unreadable_fraction ({config.max_unreadable_fraction:g})."
        )
    for value, name in ((0, "black"), (255, "white")):
        share = float((pixels == value).mean())
        if share > _MOSTLY:
            lines.append(f"{share:.0%} of the prepared pixels are {name}. Look at the keys fit, intensity "
                         "and oct of images.")  # fmt: skip
    return lines


def _treatment(config: Images) -> list[str]:
    """What is done to every image, in the order in which it is done."""
    lines, oct = [], config.treatment
    if oct is not None and oct.fill_white_corners:
        lines.append("White corners are filled with background (images.oct.fill_white_corners).")
    if oct is not None and oct.denoise_sd is not None:
        lines.append(f"Noise of standard deviation {oct.denoise_sd:g} is taken out (images.oct.denoise_sd).")
    if oct is not None and oct.crop is not None:
        lines.append(f"The middle {oct.crop.height_px} rows and {oct.crop.width_px} columns of an image are "
                     "kept, with black padding where it has fewer (images.oct.crop).")  # fmt: skip
    return [*lines, _FITTED[config.fitted].format(config.size_px) + " This is images.fit."]


def _left_out(listed: pd.DataFrame) -> list[LeftOut]:
    rows = listed[listed["status"] != OK].groupby("status", sort=True, observed=True)["file"]
    return [LeftOut(str(reason), len(files), files.iloc[0]) for reason, files in rows]


def _histogram(image: UInt8[np.ndarray, "c h w"]) -> Float64[np.ndarray, "c bin"]:
    counts = [np.bincount(channel.ravel() // (256 // _BINS), minlength=_BINS) for channel in image]
    return np.stack(counts) / image[0].size


def _spread(total: int, n: int) -> list[int]:
    """At most n of the numbers 0 … total - 1, evenly."""
    return np.linspace(0, total - 1, min(n, total)).astype(int).tolist()


@contextmanager
def _said() -> Iterator[list[tuple[int, str]]]:
    """Level and text of what the preparation writes to its log."""
    lines: list[tuple[int, str]] = []
    log = logging.getLogger("covary.images")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append((record.levelno, _sentence(record.getMessage())))
    before = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield lines
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def _sentence(line: str) -> str:
    return f"{line[:1].upper()}{line[1:].removesuffix('.')}."
