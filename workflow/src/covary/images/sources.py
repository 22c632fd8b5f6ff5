"""Find the images of a folder, and who and what they show."""

import logging
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from covary import rng
from covary.errors import UserError

log = logging.getLogger(__name__)

SUFFIXES = (".jpeg", ".jpg", ".png", ".tif", ".tiff")
SPLITS = ("train", "test")
_LAYOUT = "[train/ or test/][CLASS/]NAME with " + ", ".join(SUFFIXES)
_NAMED_PATIENT = re.compile(r"[^-]+-(?P<patient>[^-]+)-\d+")


def find_images(
    folder: Path, test_fraction: float, seed: int, *, patient_disjoint: bool = False
) -> pd.DataFrame:
    """List the images of a folder in the layouts `{train,test}/CLASS/NAME`, `CLASS/NAME` and `NAME`.

    Without train/ and test/, a share `test_fraction` of the images is held out, whole patients at a time,
    chosen by `seed` and the patients' names alone. The patient is the middle part of `CLASS-PATIENT-INDEX`;
    any other name is a patient of its own. With `patient_disjoint`, images in train/ of patients who are also
    in test/ are left out. Hidden files and files of other types are passed over.

    Returns the columns file (relative to `folder`), split, class (empty if none) and patient, sorted by file.
    Raises UserError if the folder is missing, holds no image, lacks one of its splits or, if it has none,
    holds a single patient.
    """
    if not folder.is_dir():
        raise UserError(f"images.folder: {folder} is not a folder")
    has_splits = any((folder / split).is_dir() for split in SPLITS)
    files = sorted(_walk(folder))
    images = [image for file in files if (image := _describe(file, has_splits))]
    if not images:
        elsewhere = f"; {len(files)} lie elsewhere below it, such as {files[0]}" if files else ""
        raise UserError(f"images.folder: {folder} holds no image as {_LAYOUT}{elsewhere}")
    if len(images) < len(files):
        stray = min(set(files) - {image["file"] for image in images})
        log.warning("left out because not laid out as %s in %s: %d images, such as %s",
                    _LAYOUT, folder, len(files) - len(images), stray)  # fmt: skip
    table = pd.DataFrame(images)
    if not has_splits:
        table["split"] = _hold_out(table["patient"], test_fraction, seed, folder)
    table = _without_shared_patients(table, patient_disjoint)
    for split in SPLITS:
        if not (table["split"] == split).any():
            raise UserError(f"images.folder: {folder} has no image in {split}/; give both splits or neither")
    return table


def _without_shared_patients(table: pd.DataFrame, leave_out: bool) -> pd.DataFrame:
    """Say which patients are in both splits; leave their training images out if asked."""
    train = table["split"] == "train"
    shared = train & table["patient"].isin(table["patient"][~train])
    if not shared.any():
        return table
    patients = table["patient"][shared]
    log.warning(
        "patients with images in both train/ and test/: %d, such as %s; their %d training images are %s",
        patients.nunique(), patients.min(), len(patients), "left out" if leave_out else "kept",
    )  # fmt: skip
    return table[~shared].reset_index(drop=True) if leave_out else table


def _walk(folder: Path) -> list[str]:
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = Path(parent).relative_to(folder)
        found += [
            (relative / name).as_posix()
            for name in names
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    return found


def _describe(file: str, has_splits: bool) -> dict[str, str] | None:
    """What a path says about an image, or None if it does not fit the layout."""
    parts = Path(file).parts
    split = ""
    if has_splits:
        split, *parts = parts
        if split not in SPLITS:
            return None
    if not 1 <= len(parts) <= 2:
        return None
    kind = parts[0] if len(parts) == 2 else ""
    stem = Path(file).stem
    match = _NAMED_PATIENT.fullmatch(stem)
    return {
        "file": file,
        "split": split,
        "class": kind,
        "patient": match["patient"] if match else f"{kind}/{stem}",
    }


def _hold_out(patient: pd.Series, test_fraction: float, seed: int, folder: Path) -> pd.Series:
    counts = patient.value_counts()
    if len(counts) < 2:
        raise UserError(f"images.folder: {folder} has images of 1 patient; holding out needs at least 2")
    # By hash, so that neither the order of the files nor another patient's name moves a patient.
    counts = counts[sorted(counts.index, key=lambda name: rng.stream_key(seed, f"images/split/{name}"))]
    middle = counts.cumsum() - counts / 2
    held = int(np.clip((middle <= test_fraction * len(patient)).sum(), 1, len(counts) - 1))
    return patient.isin(counts.index[:held]).map({True: "test", False: "train"})
