"""From a folder of images to two arrays of equal size and 8 bits, and an index."""

import json
import logging
import shutil
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from covary.config.images import Images
from covary.errors import UserError
from covary.images import channels
from covary.images.corners import fill_white_corners
from covary.images.denoise import denoise
from covary.images.geometry import centre_crop_or_pad, resize
from covary.images.reading import UnreadableImage, read_grey
from covary.images.sources import SPLITS, find_images
from covary.jobs.parallel import ordered_map
from covary.jobs.resumable import Journal, RowWriter, identity

log = logging.getLogger(__name__)

_INDEX = "index.parquet"
_ATTRIBUTES = "attributes.json"
_READABLE = "ok"
_PREFIXES = ("", "generator_")  # of the files at config.sizes_px
_SYNC_IMAGES = 256  # a killed job loses at most so many


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

    `generator_train` and `generator_test` are the same images at the size the generator learns; the very
    arrays `train` and `test` if it has no size of its own. `index` has the columns file, split, class,
    patient, row (in the arrays of its split; missing if unreadable) and status (`ok`, or why the file could
    not be read). `channels` are the names along the second axis.
    """

    train: UInt8[np.ndarray, "train_image channel size size"]
    test: UInt8[np.ndarray, "test_image channel size size"]
    generator_train: UInt8[np.ndarray, "train_image channel generator_size generator_size"]
    generator_test: UInt8[np.ndarray, "test_image channel generator_size generator_size"]
    index: pd.DataFrame
    channels: tuple[str, ...]


def prepare(
    source_folder: Path, out_dir: Path, config: Images, seed: int, workers: int, checkpoint_dir: Path
) -> Summary:
    """Read, clean and resize the images of a folder.

    Writes `train.npy` and `test.npy`, with `config.generator_size_px` also `generator_train.npy` and
    `generator_test.npy`, then `attributes.json` with the names of the channels, last `index.parquet`. The
    files do not depend on `workers`. Unreadable files are named in the log and left out. A job that finds in
    `checkpoint_dir` what an earlier one with the same settings, seed and files had done goes on from there.

    Raises UserError if the folder holds no usable image (see `find_images`), or if a larger share of its
    files than `config.max_unreadable_fraction` is unreadable; then nothing in `out_dir` can be loaded.
    """
    table = find_images(source_folder, config.test_fraction, seed, patient_disjoint=config.patient_disjoint)
    checkpoint_dir.mkdir(parents=True, exist_ok=True)
    out_dir.mkdir(parents=True, exist_ok=True)
    for name in (_INDEX, _ATTRIBUTES):
        (out_dir / name).unlink(missing_ok=True)
    journal = Journal(checkpoint_dir / "journal.json", _identity(source_folder, table, config, seed))
    outcomes = journal.read()
    if outcomes:
        log.info("preparation goes on after %d of %d images", len(outcomes), len(table))
    paths = [source_folder / file for file in table["file"]]
    results = ordered_map(partial(_prepare_file, config), paths[len(outcomes) :], workers, "images")
    writers = _open_writers(out_dir, checkpoint_dir, config, table["split"], outcomes)
    try:
        for i, (images, note) in enumerate(results, start=len(outcomes)):
            if not images:
                log.warning("unreadable image %s: %s", paths[i], note)
            for writer, image in zip(writers[table["split"].iat[i]], images, strict=False):
                writer.append(image)
            outcomes.append([bool(images), note])
            if len(outcomes) % _SYNC_IMAGES == 0:
                for writer in (w for pair in writers.values() for w in pair):
                    writer.sync()
                journal.write(outcomes)
        table = _with_outcomes(table, outcomes)
        try:
            _check_share_unreadable(table, source_folder, config.max_unreadable_fraction)
        except ValueError:
            shutil.rmtree(checkpoint_dir)
            raise
        for writer in (w for pair in writers.values() for w in pair):
            writer.finish()
    finally:
        for writer in (w for pair in writers.values() for w in pair):
            writer.close()
    attributes = {"channels": list(channels.GREY)}
    (out_dir / _ATTRIBUTES).write_text(json.dumps(attributes, indent=2) + "\n", encoding="utf-8")
    unfinished = out_dir / f"{_INDEX}.part"
    table.to_parquet(unfinished, index=False)
    unfinished.replace(out_dir / _INDEX)
    shutil.rmtree(checkpoint_dir)
    return _summarise(table, outcomes)


def clean_image(
    image: UInt8[np.ndarray, "c height width"], config: Images
) -> UInt8[np.ndarray, "c rows columns"]:
    """Fill white corners, denoise, crop or pad, as the config says, in the order of the paper's code."""
    return np.stack([_clean_channel(channel, config) for channel in image])


def _clean_channel(
    image: UInt8[np.ndarray, "height width"], config: Images
) -> UInt8[np.ndarray, "rows columns"]:
    if config.fill_white_corners:
        image = fill_white_corners(image)
    if config.denoise_sd is not None:
        image = denoise(image, config.denoise_sd)
    if config.crop is not None:
        image = centre_crop_or_pad(image, config.crop.height_px, config.crop.width_px)
    return image


def prepare_image(
    image: UInt8[np.ndarray, "c height width"], config: Images
) -> UInt8[np.ndarray, "c size_px size_px"]:
    """The image as the VAE sees it: cleaned and resized."""
    return resize(clean_image(image, config), config.size_px)


def load(folder: Path) -> PreparedImages:
    """Open what `prepare` wrote, without reading the images into memory.

    Raises UserError if the folder is incomplete or if its files do not belong together.
    """
    if not (folder / _INDEX).exists():
        raise UserError(f"{folder} holds no finished prepared images: {_INDEX} is missing")
    index = pd.read_parquet(folder / _INDEX)
    arrays = {}
    for prefix in _PREFIXES:
        for split in SPLITS:
            path = folder / f"{prefix}{split}.npy"
            if prefix and not path.exists():
                arrays[prefix + split] = arrays[split]
                continue
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            expected = int(index["row"][index["split"] == split].notna().sum())
            if len(array) != expected:
                raise UserError(f"{path} holds {len(array)} images, {_INDEX} lists {expected}")
            arrays[prefix + split] = array
    attributes = json.loads((folder / _ATTRIBUTES).read_text(encoding="utf-8"))
    return PreparedImages(**arrays, index=index, channels=tuple(attributes["channels"]))


def _prepare_file(config: Images, path: Path) -> tuple[list[UInt8[np.ndarray, "_ _ _"]], str]:
    """The image at each size and the conversion it took, or no image and why the file cannot be read."""
    try:
        image, conversion = read_grey(path)
    except UnreadableImage as error:
        return [], str(error)
    clean = clean_image(image[None], config)
    return [resize(clean, size_px) for size_px in config.sizes_px], conversion


def _identity(folder: Path, table: pd.DataFrame, config: Images, seed: int) -> str:
    found = ((file, (folder / file).stat()) for file in table["file"])
    files = (f"{file}/{stat.st_size}/{stat.st_mtime_ns}" for file, stat in found)
    return identity([config.model_dump_json(), str(seed), *table["split"], *files])


def _open_writers(
    out_dir: Path, checkpoint_dir: Path, config: Images, splits: pd.Series, outcomes: list
) -> dict[str, list[RowWriter]]:
    """For each split a writer a size, with the rows of an earlier run."""
    for path in out_dir.glob("generator_*.npy"):  # another config may have had a second size
        path.unlink()
    done = Counter(split for split, (readable, _) in zip(splits, outcomes, strict=False) if readable)
    return {
        split: [
            RowWriter(
                out_dir / f"{prefix}{split}.npy",
                checkpoint_dir / f"{prefix}{split}.part",
                (1, size_px, size_px),
                np.uint8,
                done[split],
            )
            for prefix, size_px in zip(_PREFIXES, config.sizes_px, strict=False)
        ]
        for split in SPLITS
    }


def _with_outcomes(table: pd.DataFrame, outcomes: list) -> pd.DataFrame:
    """The table with the columns row and status."""
    readable = pd.Series([ok for ok, _ in outcomes], index=table.index)
    row = readable.astype(int).groupby(table["split"]).cumsum() - 1
    return table.assign(
        row=row.astype("Int64").where(readable),
        status=[_READABLE if ok else note for ok, note in outcomes],
    )


def _summarise(table: pd.DataFrame, outcomes: list) -> Summary:
    """What was written, also into the log."""
    conversions = Counter(note for ok, note in outcomes if ok and note)
    for kind, count in sorted(conversions.items()):
        log.info("converted to 8-bit grey: %d × %s", count, kind)
    unreadable = table["file"][table["row"].isna()].tolist()
    if unreadable:
        log.warning("unreadable and left out: %d of %d images", len(unreadable), len(table))
    written = table["split"][table["row"].notna()].value_counts()
    return Summary(*(int(written[split]) for split in SPLITS), unreadable, dict(conversions))


def _check_share_unreadable(table: pd.DataFrame, folder: Path, allowed: float) -> None:
    bad = table["row"].isna()
    if bad.mean() > allowed:
        raise UserError(
            f"images.max_unreadable_fraction: at most {allowed:g} of the images may be unreadable, but "
            f"{bad.sum()} of {len(table)} in {folder} are, such as {table['file'][bad].iloc[0]}"
        )
    for split in SPLITS:
        if bad[table["split"] == split].all():
            raise UserError(f"no {split} image in {folder} can be read")
