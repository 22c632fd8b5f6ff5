"""From a folder of images to two arrays of equal size, 8-bit and grey, and an index."""

import logging
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from covary.config import Images
from covary.images.corners import fill_white_corners
from covary.images.geometry import centre_crop_or_pad, resize
from covary.images.reading import UnreadableImage, read_grey
from covary.images.sources import SPLITS, find_images
from covary.parallel import ordered_map

log = logging.getLogger(__name__)

_INDEX = "index.parquet"
_READABLE = "ok"


@dataclass(frozen=True)
class Summary:
    """What `prepare` wrote: images a split, files it could not read, files it had to convert, by kind."""

    train: int
    test: int
    unreadable: list[str] = field(default_factory=list)
    conversions: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PreparedImages:
    """Prepared images, read-only and mapped from disk, and where each came from.

    `index` has the columns file, split, class, patient, row (in its split's array; missing if unreadable)
    and status (`ok`, or why the file could not be read).
    """

    train: UInt8[np.ndarray, "train_image size size"]
    test: UInt8[np.ndarray, "test_image size size"]
    index: pd.DataFrame


def prepare(source_folder: Path, out_dir: Path, config: Images, seed: int, workers: int) -> Summary:
    """Read, clean and resize the images of a folder; write `train.npy`, `test.npy`, last `index.parquet`.

    The files do not depend on `workers`. Unreadable files are named in the log and left out.
    Raises ValueError if the folder holds no usable image (see `find_images`), or if a larger share of its
    files than `config.max_unreadable_fraction` is unreadable; then nothing in `out_dir` can be loaded.
    """
    table = find_images(source_folder, config.test_fraction, seed)
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / _INDEX).unlink(missing_ok=True)
    paths = [source_folder / file for file in table["file"]]
    results = ordered_map(partial(_prepare_file, config), paths, workers, "images")
    conversions = Counter()
    rows, status = [], []
    writers = {split: _ImageWriter(out_dir / f"{split}.npy", config.size_px) for split in SPLITS}
    try:
        for file, split, (image, note) in zip(table["file"], table["split"], results, strict=True):
            if image is None:
                log.warning("unreadable image %s: %s", source_folder / file, note)
                rows.append(None)
                status.append(note)
                continue
            rows.append(writers[split].append(image))
            status.append(_READABLE)
            conversions.update([note] if note else [])
        table["row"] = pd.array(rows, dtype="Int64")
        table["status"] = status
        _check_share_unreadable(table, source_folder, config.max_unreadable_fraction)
        for writer in writers.values():
            writer.finish()
    finally:
        for writer in writers.values():
            writer.discard()
    unfinished = out_dir / f"{_INDEX}.part"
    table.to_parquet(unfinished, index=False)
    unfinished.replace(out_dir / _INDEX)

    for kind, count in sorted(conversions.items()):
        log.info("converted to 8-bit grey: %d × %s", count, kind)
    unreadable = table["file"][table["row"].isna()].tolist()
    if unreadable:
        log.warning("unreadable and left out: %d of %d images", len(unreadable), len(table))
    return Summary(*(writers[split].count for split in SPLITS), unreadable, dict(conversions))


def prepare_image(
    image: UInt8[np.ndarray, "height width"], config: Images
) -> UInt8[np.ndarray, "size_px size_px"]:
    """Fill white corners, crop or pad, and resize, as the config says."""
    if config.fill_white_corners:
        image = fill_white_corners(image)
    if config.crop is not None:
        image = centre_crop_or_pad(image, config.crop.height_px, config.crop.width_px)
    return resize(image, config.size_px)


def load(folder: Path) -> PreparedImages:
    """Open what `prepare` wrote, without reading the images into memory.

    Raises ValueError if the folder is incomplete or if its files do not belong together.
    """
    if not (folder / _INDEX).exists():
        raise ValueError(f"{folder} holds no finished prepared images: {_INDEX} is missing")
    index = pd.read_parquet(folder / _INDEX)
    arrays = {split: np.load(folder / f"{split}.npy", mmap_mode="r", allow_pickle=False) for split in SPLITS}
    for split, array in arrays.items():
        expected = int(index["row"][index["split"] == split].notna().sum())
        if len(array) != expected:
            raise ValueError(f"{folder}/{split}.npy holds {len(array)} images, {_INDEX} lists {expected}")
    return PreparedImages(**arrays, index=index)


def _prepare_file(config: Images, path: Path) -> tuple[UInt8[np.ndarray, "size size"] | None, str]:
    """The prepared image and the conversion it took, or None and why the file cannot be read."""
    try:
        image, conversion = read_grey(path)
    except UnreadableImage as error:
        return None, str(error)
    return prepare_image(image, config), conversion


def _check_share_unreadable(table: pd.DataFrame, folder: Path, allowed: float) -> None:
    bad = table["row"].isna()
    if bad.mean() > allowed:
        raise ValueError(
            f"images.max_unreadable_fraction: at most {allowed:g} of the images may be unreadable, but "
            f"{bad.sum()} of {len(table)} in {folder} are, such as {table['file'][bad].iloc[0]}"
        )
    for split in SPLITS:
        if bad[table["split"] == split].all():
            raise ValueError(f"no {split} image in {folder} can be read")


class _ImageWriter:
    """Appends images to a .npy file that has its name only once it is finished."""

    def __init__(self, path: Path, size_px: int):
        self.count = 0
        self._path = path
        self._size_px = size_px
        self._unfinished = path.with_name(f"{path.name}.part")
        path.unlink(missing_ok=True)
        self._file = self._unfinished.open("wb")
        self._write_header()

    def append(self, image: np.ndarray) -> int:
        """Write one image and return its row."""
        self._file.write(np.ascontiguousarray(image).tobytes())
        self.count += 1
        return self.count - 1

    def finish(self) -> None:
        """Put the number of images into the header and give the file its name."""
        self._file.seek(0)
        self._write_header()
        self._file.close()
        self._unfinished.replace(self._path)

    def discard(self) -> None:
        """Remove the file if it is not finished."""
        self._file.close()
        self._unfinished.unlink(missing_ok=True)

    def _write_header(self) -> None:
        # NumPy pads the header so that the length of the first axis can be rewritten in place.
        shape = (self.count, self._size_px, self._size_px)
        np.lib.format.write_array_header_1_0(
            self._file, {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
