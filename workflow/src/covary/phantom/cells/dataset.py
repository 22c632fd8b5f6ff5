"""Write a folder of drawn cells in the layout of BBBC021."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from covary import rng
from covary.config.images import DrawnCells
from covary.files import whole
from covary.images.cells import (
    COMPOUND,
    CONCENTRATION,
    FIELD,
    IMAGES,
    MODE,
    NUMBER,
    PATH,
    PLATE,
    TABLE,
    WELL,
    cell_file,
)  # fmt: skip
from covary.jobs.parallel import ordered_map
from covary.phantom.cells.factors import draw_factors, draw_wells
from covary.phantom.cells.render import render


def write_cells(folder: Path, config: DrawnCells, seed: int, workers: int) -> None:
    """Write one `.npy` file per cell, `factors.parquet` with their known factors, and `metadata.csv` last.

    The images do not depend on `workers`. Files of an earlier call in the folder are replaced.
    """
    listing = folder / TABLE
    listing.unlink(missing_ok=True)
    shutil.rmtree(folder / IMAGES, ignore_errors=True)
    factors = draw_factors(seed, draw_wells(seed, config), config)
    table = _metadata(factors)
    factors.insert(0, "file", cell_file(table[FIELD], table[NUMBER]))
    for parent in factors["file"].map(lambda file: (folder / file).parent).unique():
        parent.mkdir(parents=True)
    cells = factors.to_dict("records")
    for _ in ordered_map(partial(_write_cell, folder, seed), cells, workers, "cells"):
        pass
    factors.to_parquet(folder / "factors.parquet", index=False)
    # The rows of the real table are in no order either.
    order = rng.generator(seed, "cells/rows").permutation(len(table))
    with whole(listing) as partial_listing:
        table.iloc[order].to_csv(partial_listing, index=False)


def _metadata(factors: pd.DataFrame) -> pd.DataFrame:
    field = factors["plate"] + "_" + factors["well"] + "_s1_w1"
    week = "Week" + factors["week"].astype(str)
    return pd.DataFrame(
        {
            FIELD: field,
            NUMBER: factors["cell"],
            "Single_Cell_Image_Name": field + "_" + factors["cell"].astype(str) + ".npy",
            PATH: week + "/" + factors["plate"],
            PLATE: factors["plate"],
            WELL: factors["well"],
            "Replicate": factors["replicate"],
            COMPOUND: factors["compound"],
            CONCENTRATION: factors["concentration"],
            MODE: factors["moa"],
        }
    )


def _write_cell(folder: Path, seed: int, cell: dict) -> None:
    random = rng.generator(seed, f"cells/render/{cell['plate']}/{cell['well']}", cell["cell"])
    np.save(folder / cell["file"], render(cell, random))
