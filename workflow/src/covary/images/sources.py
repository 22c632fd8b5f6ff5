"""Find the images of a folder, and who and what they show."""

import logging
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from covary import rng
from covary.errors import UserError
from covary.images.medical import missing_package
from covary.images.reading import SUFFIXES
from covary.jobs.listing import listed_files

log = logging.getLogger(__name__)

SPLITS = ("train", "test")
OK = "ok"
_COLUMNS = ("patient", "class", "split")
_LAYOUT = "[train/ or test/][CLASS/]NAME"
_TYPES = ", ".join(SUFFIXES)
_NAMED_PATIENT = re.compile(r"(?P<class>[^-]+)-(?P<patient>[^-]+)-\d+")

Description = dict[str, str]
Describe = Callable[[str], Description | str]


def find_images(
    folder: Path,
    test_fraction: float,
    seed: int,
    *,
    patient_disjoint: bool = False,
    pattern: str | None = None,
    table: Path | None = None,
) -> pd.DataFrame:
    """List the files of a folder, which images they are, and which files are left out.

    Who and what an image shows follows from `table`, a CSV file with the column file and any of patient,
    class and split; or from the named groups of `pattern`, which must match the whole path in the folder; or
    from the layouts `{train,test}/CLASS/NAME`, `CLASS/NAME` and `NAME`, where the patient is the middle part
    of `CLASS-PATIENT-INDEX`. An image of which nothing says the patient counts as a patient of its own, and
    one warning says so.

    Where nothing says the split, a share `test_fraction` of the images is held out, whole patients at a time,
    chosen by `seed` and the patients' names alone. With `patient_disjoint`, images in train/ of patients who
    are also in test/ are left out. Hidden files and texts are no images.

    Returns the columns file (relative to `folder`), split, class (empty if none), patient and status (`ok`,
    or why the file is left out), sorted by file. Raises UserError if the folder is missing, holds no image,
    lacks one of its splits or, if it has none, holds a single patient, or if the table is unusable.
    """
    if not folder.is_dir():
        raise UserError(f"images.folder: {folder} is not a folder")
    files = listed_files(folder)
    has_folders = any((folder / split).is_dir() for split in SPLITS)
    describe = _describer(pattern, table, has_folders)
    rows = []
    for file in files:
        found = _fault_of_file(folder, file) or describe(file)
        row = {"file": _printable(file), "split": "", "class": "", "patient": "", "status": OK}
        rows.append(row | ({"status": found} if isinstance(found, str) else found))
    listed = pd.DataFrame(rows, columns=["file", "split", "class", "patient", "status"])
    _say_left_out(listed, folder)
    fine = listed["status"] == OK
    if not fine.any():
        why = f"expected {_LAYOUT} of {_TYPES}"
        if len(listed):
            first = f"{listed['file'][0]} ({listed['status'][0]})"
            why = f"{len(listed)} files are left out, such as {first}"
        raise UserError(f"images.folder: {folder} holds no image that can be used: {why}")
    nameless = fine & (listed["patient"] == "")
    if nameless.any():
        log.warning(
            "nothing says which patient %d of %d images show, such as %s; each counts as a patient of its "
            "own, so images of one patient may be in both train and test (images.pattern and images.table "
            "tell patients)", nameless.sum(), fine.sum(), listed["file"][nameless].iloc[0],
        )  # fmt: skip
        own = listed["class"] + "/" + listed["file"].map(lambda file: Path(file).stem)
        own = own if own[nameless].is_unique else listed["file"]
        listed["patient"] = listed["patient"].where(~nameless, own)
    images = listed[fine]
    if (images["split"] == "").all():
        split = hold_out(images["patient"], test_fraction, seed, folder)
        listed.loc[fine, "split"] = split
    elif (images["split"] == "").any():
        unknown = images["file"][images["split"] == ""].iloc[0]
        raise UserError(f"images.folder: nothing says the split of {unknown}, but that of others; "
                        "expected train or test")  # fmt: skip
    _part_patients(listed, patient_disjoint)
    for split in SPLITS:
        if not ((listed["split"] == split) & (listed["status"] == OK)).any():
            raise UserError(f"images.folder: {folder} has no image in {split}/; give both splits or neither")
    return listed


def _fault_of_file(folder: Path, file: str) -> str:
    """Why a file cannot be an image, whatever its name says; empty if it can."""
    if file != _printable(file):
        return "its name is not UTF-8; give it another"
    if not file.lower().endswith(SUFFIXES):
        return f"not one of the supported types {_TYPES}"
    if package := missing_package(file):
        return f"needs the package {package}, which is not installed"
    return "" if (folder / file).is_file() else "a link to a file that does not exist"


def _printable(file: str) -> str:
    """A path without the bytes that are no UTF-8, which tables and logs cannot hold."""
    return file.encode(errors="surrogateescape").decode(errors="replace")


def _describer(pattern: str | None, table: Path | None, has_folders: bool) -> Describe:
    """What tells patient, class and split of a file, or why the file is left out."""
    if table is not None:
        return _by_table(table)
    if pattern is not None:
        return _by_pattern(re.compile(pattern), has_folders)
    return _by_layout(has_folders)


def _by_table(path: Path) -> Describe:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"images.table: {path} cannot be read: {' '.join(str(error).split())}") from None
    known = [name for name in _COLUMNS if name in table]
    if "file" not in table or not known:
        raise UserError(f"images.table: {path} must have the column file and any of {', '.join(_COLUMNS)}, "
                        f"got {', '.join(table.columns)}")  # fmt: skip
    if (twice := table["file"].duplicated()).any():
        raise UserError(f"images.table: {path} lists {table['file'][twice].iloc[0]} more than once")
    rows = dict(zip(table["file"], table[known].to_dict("records"), strict=True))
    return lambda file: _checked(rows[file]) if file in rows else "not in images.table"


def _by_pattern(pattern: re.Pattern, has_folders: bool) -> Describe:
    def describe(file: str) -> Description | str:
        match = pattern.fullmatch(file)
        if match is None:
            return "its path does not match images.pattern"
        given = {key: value or "" for key, value in match.groupdict().items()}
        first = Path(file).parts[0]
        if "split" not in given and has_folders:
            given["split"] = first
        return _checked(given)

    return describe


def _checked(given: Description) -> Description | str:
    """A description whose split, if it has one, is one of ours."""
    split = given.get("split", "")
    return given if split in ("", *SPLITS) else f"its split is {split!r}, neither train nor test"


def _by_layout(has_folders: bool) -> Describe:
    def describe(file: str) -> Description | str:
        parts = list(Path(file).parts)
        split = parts.pop(0) if has_folders else ""
        if (has_folders and split not in SPLITS) or not 1 <= len(parts) <= 2:
            return f"not laid out as {_LAYOUT}; images.pattern or images.table describe other layouts"
        kind = parts[0] if len(parts) == 2 else ""
        match = _NAMED_PATIENT.fullmatch(Path(file).stem)
        is_named = match is not None and kind in ("", match["class"])
        return {"split": split, "class": kind, "patient": match["patient"] if is_named else ""}

    return describe


def _say_left_out(listed: pd.DataFrame, folder: Path) -> None:
    """One line for each reason why files are left out."""
    left_out = listed[listed["status"] != OK]
    for reason, rows in left_out.groupby("status", sort=True):
        suffixes = Counter(Path(file).suffix.lower() or "no suffix" for file in rows["file"])
        log.warning("left out of %s: %d files (%s), such as %s: %s", folder, len(rows),
                    ", ".join(sorted(suffixes)), rows["file"].iloc[0], reason)  # fmt: skip


def _part_patients(listed: pd.DataFrame, leave_out: bool) -> None:
    """Say which patients are in both splits; leave their training images out if asked."""
    fine = listed["status"] == OK
    train, test = (fine & (listed["split"] == split) for split in SPLITS)
    shared = train & listed["patient"].isin(listed["patient"][test])
    if not shared.any():
        return
    patients = listed["patient"][shared]
    log.warning(
        "patients with images in both train/ and test/: %d, such as %s; their %d training images are %s",
        patients.nunique(), patients.min(), len(patients), "left out" if leave_out else "kept",
    )  # fmt: skip
    if leave_out:
        listed.loc[shared, "status"] = "its patient is also in test/"


def hold_out(patient: pd.Series, test_fraction: float, seed: int, folder: Path) -> pd.Series:
    """The split of each image, `train` or `test`, with whole patients held out.

    `seed` and the patients' names decide. Raises UserError if there is a single patient.
    """
    counts = patient.value_counts()
    if len(counts) < 2:
        raise UserError(f"images.folder: {folder} has images of 1 patient; holding out needs at least 2")
    # By hash, so that neither the order of the files nor another patient's name moves a patient.
    counts = counts[sorted(counts.index, key=lambda name: rng.stream_key(seed, f"images/split/{name}"))]
    middle = counts.cumsum() - counts / 2
    held = int(np.clip((middle <= test_fraction * len(patient)).sum(), 1, len(counts) - 1))
    return patient.isin(counts.index[:held]).map({True: "test", False: "train"})
