"""Single cells in the layout of BBBC021: a table `metadata.csv` and one `.npy` file for each cell."""

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped, UInt8

from covary.config.images import Cells
from covary.errors import UserError
from covary.images.reading import Picture, UnreadableImage
from covary.images.sources import OK, hold_out

log = logging.getLogger(__name__)

TABLE = "metadata.csv"
IMAGES = "singh_cp_pipeline_singlecell_images"
FIELD, NUMBER = "Multi_Cell_Image_Name", "Single_Cell_Image_Id"
COMPOUND, CONCENTRATION, MODE = "Image_Metadata_Compound", "Image_Metadata_Concentration", "moa"
WELL, PLATE, PATH = "Image_Metadata_Well_DAPI", "Image_Metadata_Plate_DAPI", "Image_PathName_DAPI"
_COLUMNS = (FIELD, NUMBER, COMPOUND, CONCENTRATION, MODE, WELL, PLATE, PATH)
_REPEATED = (FIELD, COMPOUND, CONCENTRATION, MODE, WELL, PLATE, PATH)  # few values in many rows
CONTROL = "DMSO"


def cell_file(field: pd.Series, number: pd.Series) -> pd.Series:
    """Path of each cell's file in the folder, from the name of its field of view and its number there."""
    field = field.astype(str)
    return IMAGES + "/" + field + "/" + field + "_" + number.astype(str) + ".npy"


def treatment_name(compound: pd.Series, concentration: pd.Series) -> pd.Series:
    """Compound and concentration as one name, for instance `taxol_0.3`."""
    return compound.astype(str) + "_" + concentration.map("{:g}".format).astype(str)


def find_cells(folder: Path, config: Cells, test_fraction: float, seed: int) -> pd.DataFrame:
    """List the cells of `metadata.csv`: their files, their split, and what was done to them.

    A share `test_fraction` of the cells is held out. What is not divided between the splits is called patient
    here, as for other images: the cell, its well or its treatment, as `config.split_by` says.

    Returns the columns file, split, class (mode of action), patient, status (`ok`, or why a row is left out),
    treatment, compound, concentration, moa, well (with its plate), plate and week (the first folder of
    `Image_PathName_DAPI`), sorted by file. Raises UserError if the table cannot be read, lacks a column, has
    one twice, lists a cell twice, or has rows of a single patient.
    """
    path = folder / TABLE
    rows = _read_table(path)
    listed = pd.DataFrame({"file": cell_file(rows[FIELD], rows[NUMBER])})
    if (twice := listed["file"].duplicated()).any():
        raise UserError(f"{path}: lists the cell {listed['file'][twice].iloc[0]} more than once")
    concentration = pd.to_numeric(rows[CONCENTRATION], errors="coerce").astype(float)
    listed["treatment"] = treatment_name(rows[COMPOUND], concentration).astype("category")
    listed["compound"], listed["concentration"], listed["moa"] = rows[COMPOUND], concentration, rows[MODE]
    listed["plate"] = rows[PLATE]
    listed["well"] = (rows[PLATE].astype(str) + "_" + rows[WELL].astype(str)).astype("category")
    listed["week"] = rows[PATH].astype(str).str.split("/").str[0].astype("category")
    listed["class"] = listed["moa"]
    listed["status"] = _status(rows, concentration)
    fine = listed["status"] == OK
    for reason, count in Counter(listed["status"][~fine]).items():
        log.warning("left out: %d rows of %s, such as %s: %s", count, path,
                    listed["file"][listed["status"] == reason].iloc[0], reason)  # fmt: skip
    if not fine.any():
        raise UserError(f"{path}: no row can be used; the first is left out because it has "
                        f"{listed['status'].iloc[0] if len(listed) else 'no cell'}")  # fmt: skip
    listed["patient"] = listed["file" if config.split_by == "cell" else config.split_by].astype(str)
    listed["split"] = ""
    listed.loc[fine, "split"] = hold_out(listed["patient"][fine], test_fraction, seed, folder)
    order = ["file", "split", "class", "patient", "status"]
    return listed[[*order, *listed.columns.difference(order)]].sort_values("file", ignore_index=True)


def read_cell(path: Path, config: Cells) -> Picture:
    """One cell, channels first, scaled to 8 bits by `scaled`.

    Raises UnreadableImage if the file is missing, damaged, of another shape or type than expected, or holds
    values that are no brightness: NaN, infinite or negative.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UnreadableImage("no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise UnreadableImage(f"not a whole .npy file: {' '.join(str(error).split())}") from None
    expected = (config.side_px, config.side_px, len(config.stains))
    if not isinstance(values, np.ndarray) or values.shape != expected:
        got = list(getattr(values, "shape", ()))
        raise UnreadableImage(f"has the shape {got}; expected {list(expected)} (images.cells)")
    if values.dtype.kind not in "uif":
        raise UnreadableImage(f"holds values of type {values.dtype}; expected whole numbers or floats")
    if not np.isfinite(values).all():
        raise UnreadableImage("holds values that are not finite (NaN or infinite)")
    if values.min() < 0:
        raise UnreadableImage(f"holds negative values ({values.min():g}); expected brightness from 0 up")
    return Picture(scaled(np.moveaxis(values, -1, 0), config.scale), tuple(config.stains), ())


def scaled(values: Shaped[np.ndarray, "c h w"], scale: float | str) -> UInt8[np.ndarray, "c h w"]:
    """Values as 0 … 255: the maximum of each channel, or the constant `scale`, becomes 255.

    What exceeds the constant is cut off. A channel that is zero everywhere stays zero.
    """
    x: Float[np.ndarray, "c h w"] = values.astype(np.float32)
    top = x.max(axis=(1, 2), keepdims=True) if scale == "maximum" else np.full((len(x), 1, 1), scale)
    share = np.divide(x, top, out=np.zeros_like(x), where=top > 0)
    return np.rint(255 * share.clip(0, 1)).astype(np.uint8)


def _read_table(path: Path) -> pd.DataFrame:
    """The columns that are needed, in little memory."""
    try:
        header = pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0].tolist()
        for name in _COLUMNS:
            if header.count(name) != 1:
                times = "is missing" if name not in header else f"is there {header.count(name)} times"
                raise UserError(f"{path}: the column {name} {times}; expected it once")
        kinds = dict.fromkeys(_REPEATED, "category")
        return pd.read_csv(path, usecols=_COLUMNS, dtype=kinds | {NUMBER: str})
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None


def _status(rows: pd.DataFrame, concentration: pd.Series) -> pd.Series:
    """`ok`, or what a row lacks."""
    status = pd.Series(OK, index=rows.index)
    for name in (PATH, WELL, PLATE, MODE, COMPOUND, NUMBER, FIELD):
        status[rows[name].isna()] = f"no {name}"
    status[(status == OK) & ~(concentration >= 0)] = f"no number ≥ 0 as {CONCENTRATION}"
    return status
