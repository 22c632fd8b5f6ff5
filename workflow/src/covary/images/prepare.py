"""From a folder of images to two arrays of equal size and 8 bits, and an index."""

import json
import logging
import shutil
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from covary.config.images import Images, Oct
from covary.errors import UserError
from covary.files import whole
from covary.images import channels
from covary.images.cells import find_cells, read_cell
from covary.images.corners import fill_white_corners
from covary.images.denoise import denoise
from covary.images.geometry import centre_crop_or_pad, fit
from covary.images.reading import Picture, UnreadableImage, read_picture
from covary.images.sources import OK, SPLITS, find_images
from covary.images.survey import Survey, fits, survey
from covary.jobs.parallel import ordered_map
from covary.jobs.resumable import Journal, RowWriter, identity

log = logging.getLogger(__name__)

_INDEX = "index.parquet"
_ATTRIBUTES = "attributes.json"
_PREFIXES = ("", "generator_")  # of the files at config.sizes_px
_COMPARED_IMAGES = 256
_SYNC_IMAGES = 256  # a killed job loses at most so many,
_SYNC_SHARE = 1 / 512  # or this share, since the journal that is written each time grows with their number


@dataclass(frozen=True)
class Summary:
    """What `prepare` wrote: images per split, files it could not read, images it converted, by kind."""

    train: int
    test: int
    unreadable: list[str] = field(default_factory=list)
    conversions: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PreparedImages:
    """Prepared images, read-only and mapped from disk, and where each came from.

    `generator_train` and `generator_test` are the same images at the size the generator learns; the very
    arrays `train` and `test` if it has no size of its own. `index` has the columns file, split, class,
    patient, status (`ok`, or why the file was left out), row (in the arrays of its split; missing if left
    out) and conversion (what was done to its values). `channels` are the names along the second axis.
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
    """Read, clean and resize the images of a folder, or the cells of one.

    Writes `train.npy` and `test.npy`, with `config.generator_size_px` also `generator_train.npy` and
    `generator_test.npy`, then `attributes.json` with the names of the channels and the range of values that
    became 0 … 255, last `index.parquet`. The files do not depend on `workers`. Files that are no usable image
    are named in the log and left out. A job that finds in `checkpoint_dir` what an earlier one with the same
    settings, seed and files had done goes on from there.

    Raises UserError if the folder holds no usable image (see `find_images`), or if a larger share of its
    files than `config.max_unreadable_fraction` is unreadable; then nothing in `out_dir` can be loaded.
    """
    listed = find(source_folder, config, seed)
    table = listed[listed["status"] == OK].reset_index(drop=True)
    paths = [source_folder / file for file in table["file"]]
    seen = look_at(paths, config, workers)
    names = channels.kept(seen.channels, config.channels)
    log.info("images become %s squares (images.fit) with the channels %s", config.fitted, ", ".join(names))
    checkpoint_dir.mkdir(parents=True, exist_ok=True)
    out_dir.mkdir(parents=True, exist_ok=True)
    for name in (_INDEX, _ATTRIBUTES):
        (out_dir / name).unlink(missing_ok=True)
    journal = Journal(checkpoint_dir / "journal.json", _identity(source_folder, table, config, seed))
    outcomes = journal.read()
    parts = [checkpoint_dir / f"{prefix}{split}.part" for prefix in _PREFIXES for split in SPLITS]
    if not all(part.exists() for part in parts[: 2 * len(config.sizes_px)]):
        outcomes = []
    if outcomes:
        log.info("preparation goes on after %d of %d images", len(outcomes), len(table))
    results = ordered_map(partial(prepare_file, config, seen), paths[len(outcomes) :], workers, "images")
    writers = _open_writers(out_dir, checkpoint_dir, config, len(names), table["split"], outcomes)
    synced_each = max(_SYNC_IMAGES, int(len(table) * _SYNC_SHARE))
    try:
        for i, (images, note) in enumerate(results, start=len(outcomes)):
            if not images:
                log.warning("left out: %s: %s", paths[i], note)
            for writer, image in zip(writers[table["split"].iat[i]], images, strict=False):
                writer.append(image)
            outcomes.append([bool(images), note])
            if len(outcomes) % synced_each == 0:
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
    attributes = {
        "channels": list(names),
        "fit": config.fitted,
        "scaled_from": None if seen.low is None else {"low": seen.low, "high": seen.high},
    }
    (out_dir / _ATTRIBUTES).write_text(json.dumps(attributes, indent=2) + "\n", encoding="utf-8")
    _check_contrast(out_dir)
    left_out = listed[listed["status"] != OK].assign(conversion="")
    table = pd.concat([table, left_out]).sort_values("file", ignore_index=True)
    with whole(out_dir / _INDEX) as unfinished:
        table.to_parquet(unfinished, index=False)
    shutil.rmtree(checkpoint_dir)
    return _summarise(table, outcomes)


def find(folder: Path, config: Images, seed: int) -> pd.DataFrame:
    """What the folder holds, with the split of each image."""
    if config.source == "cells":
        return find_cells(folder, config.cells, config.test_fraction, seed)
    return find_images(
        folder,
        config.test_fraction,
        seed,
        patient_disjoint=config.patient_disjoint,
        pattern=config.pattern,
        table=None if config.table is None else Path(config.table),
    )


def look_at(paths: list[Path], config: Images, workers: int) -> Survey:
    """What all images have in common; each cell is scaled by itself, so nobody looks at all of them."""
    if config.source == "cells":
        return Survey(tuple(config.cells.stains), None, None, scales_8_bit=False)
    return survey(paths, config, workers)


def _read(path: Path, config: Images) -> Picture:
    return read_cell(path, config.cells) if config.source == "cells" else read_picture(path, config.pages)


def clean_image(
    image: UInt8[np.ndarray, "c height width"], config: Images
) -> UInt8[np.ndarray, "c rows columns"]:
    """The treatment of OCT B-scans, if the config has one, channel by channel."""
    treatment = config.treatment
    return image if treatment is None else np.stack([_treat(channel, treatment) for channel in image])


def _treat(image: UInt8[np.ndarray, "height width"], treatment: Oct) -> UInt8[np.ndarray, "rows columns"]:
    """Fill white corners, denoise, crop or pad, in the order of the paper's code."""
    if treatment.fill_white_corners:
        image = fill_white_corners(image)
    if treatment.denoise_sd is not None:
        image = denoise(image, treatment.denoise_sd)
    if treatment.crop is not None:
        image = centre_crop_or_pad(image, treatment.crop.height_px, treatment.crop.width_px)
    return image


def prepare_image(
    image: UInt8[np.ndarray, "c height width"], config: Images
) -> UInt8[np.ndarray, "c size_px size_px"]:
    """The image as the VAE sees it: cleaned, made square and resized."""
    return fit(clean_image(image, config), config.size_px, config.fitted)


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


def prepare_file(config: Images, seen: Survey, path: Path) -> tuple[list[UInt8[np.ndarray, "_ _ _"]], str]:
    """The image at each size and what had to be done to it, or no image and why the file is left out."""
    try:
        picture = _read(path, config)
    except UnreadableImage as error:
        return [], str(error)
    pixels, notes = picture.pixels, list(picture.notes)
    if not fits(picture.channels, seen.channels):
        return [], f"{len(picture.channels)} channels; most images of the folder have {len(seen.channels)}"
    if picture.channels != seen.channels:
        pixels = np.repeat(pixels, len(seen.channels), axis=0)
        notes.append("grey as three equal colours")
    if picture.is_deep or seen.scales_8_bit:
        notes.append(f"{pixels.dtype} values scaled to 8 bits")
    kept = channels.keep(seen.to_8_bit(pixels), seen.channels, config.channels)
    if len(kept) < len(pixels):
        notes.append("colours to grey" if config.channels == "grey" else "channels selected")
    if config.fitted != "stretch" and kept.shape[1] != kept.shape[2]:
        notes.append({"letterbox": "black margins", "centre_square": "sides cut off"}[config.fitted])
    clean = clean_image(kept, config)
    return [fit(clean, size_px, config.fitted) for size_px in config.sizes_px], "; ".join(notes)


def _identity(folder: Path, table: pd.DataFrame, config: Images, seed: int) -> str:
    files = (f"{file}/{_stamp(folder / file)}" for file in table["file"])
    return identity(chain([config.model_dump_json(), str(seed)], table["split"], files))


def _stamp(path: Path) -> str:
    """What changes when a file does."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return "missing"
    return f"{stat.st_size}/{stat.st_mtime_ns}"


def _open_writers(
    out_dir: Path, checkpoint_dir: Path, config: Images, n_channels: int, splits: pd.Series, outcomes: list
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
                (n_channels, size_px, size_px),
                np.uint8,
                done[split],
            )
            for prefix, size_px in zip(_PREFIXES, config.sizes_px, strict=False)
        ]
        for split in SPLITS
    }


def _with_outcomes(table: pd.DataFrame, outcomes: list) -> pd.DataFrame:
    """The table with the columns row, status and conversion."""
    readable = pd.Series([ok for ok, _ in outcomes], index=table.index)
    row = readable.astype(int).groupby(table["split"]).cumsum() - 1
    return table.assign(
        row=row.astype("Int64").where(readable),
        status=[OK if ok else note for ok, note in outcomes],
        conversion=[note if ok else "" for ok, note in outcomes],
    )


def _summarise(table: pd.DataFrame, outcomes: list) -> Summary:
    """What was written, also into the log."""
    conversions = Counter(note for ok, note in outcomes if ok and note)
    for kind, count in sorted(conversions.items()):
        log.warning("converted: %d × %s", count, kind)
    unreadable = table["file"][table["row"].isna()].tolist()
    if unreadable:
        log.warning("cannot be used and left out: %d of %d images", len(unreadable), len(table))
    written = table["split"][table["row"].notna()].value_counts()
    return Summary(*(int(written[split]) for split in SPLITS), unreadable, dict(conversions))


def _check_contrast(out_dir: Path) -> None:
    """Raise UserError if no prepared image has any contrast, or if all are alike."""
    train = np.load(out_dir / "train.npy", mmap_mode="r")
    some = train[np.linspace(0, len(train) - 1, min(len(train), _COMPARED_IMAGES)).astype(int)]
    if fault := fault_of_contrast(some):
        raise UserError(f"images.folder: {fault}")


def fault_of_contrast(images: UInt8[np.ndarray, "n c h w"]) -> str:
    """Why nothing can be learned from prepared images: no contrast, or all alike; empty if neither."""
    if (images == images[:, :, :1, :1]).all():
        return (
            "the prepared images have no contrast: all pixels of an image are alike, as in the first, where "
            f"they are {images[0, 0, 0, 0]}; look at images.intensity, oct and fit"
        )
    if len(images) > 1 and (images == images[:1]).all():
        return "the prepared images are all alike; there is nothing to learn from them"
    return ""


def _check_share_unreadable(table: pd.DataFrame, folder: Path, allowed: float) -> None:
    bad = table["row"].isna()
    if bad.mean() > allowed:
        raise UserError(
            f"images.max_unreadable_fraction: at most {allowed:g} of the images may be left out as "
            f"unreadable or unlike the others, but {bad.sum()} of {len(table)} in {folder} are, such as "
            f"{table['file'][bad].iloc[0]} ({table['status'][bad].iloc[0]})"
        )
    for split in SPLITS:
        if bad[table["split"] == split].all():
            raise UserError(f"no {split} image in {folder} can be read")
