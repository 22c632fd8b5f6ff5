"""The known factors of drawn cells: one row per cell, from the wells of an experiment."""

import numpy as np
import pandas as pd
from jaxtyping import Float64

from covary import rng
from covary.config.images import DrawnCells
from covary.phantom.cells.modes import MODES, UNTREATED
from covary.phantom.cells.treatments import CONTROL, treatments

_ROWS, _COLUMNS = "BCDEFG", range(2, 12)  # the 60 inner wells of a plate of 96
# Standard deviations, in those between untreated cells.
_PLATE_SD, _WEEK_SD, _COMPOUND_SD = 0.25, 0.30, 0.30
_RESPONSE_SD = 0.15  # of the logarithm of a cell's response
OPTICS = {  # of a plate: mean and standard deviation
    "blur_px": (0.95, 0.08),
    "background": (0.05, 0.01),
    "noise": (0.02, 0.003),
}


def draw_wells(seed: int, config: DrawnCells) -> pd.DataFrame:
    """The wells of an experiment: each treatment in one well of each plate of its week, DMSO in several.

    Columns: those of `treatments`, plate (`Week1_1` …), well (`B02` …) and replicate (plate of the week).
    Wells of a plate are in an order that depends on the seed. Raises ValueError if a plate has too few.
    """
    listed = treatments()
    control, treated = listed[listed["compound"] == CONTROL], listed[listed["compound"] != CONTROL]
    names = [f"{row}{column:02d}" for row in _ROWS for column in _COLUMNS]
    plates = []
    for week, tested in treated.groupby("week"):
        for replicate in range(1, config.plates_per_week + 1):
            wells = pd.concat([*[control] * config.control_wells, tested]).assign(
                week=week, replicate=replicate, plate=f"Week{week}_{replicate}"
            )
            if len(wells) > len(names):
                raise ValueError(f"a plate has {len(names)} wells, got {len(wells)}")
            order = rng.generator(seed, f"cells/wells/{week}", replicate).permutation(len(names))
            plates.append(wells.assign(well=np.array(names)[order[: len(wells)]]))
    return pd.concat(plates, ignore_index=True)


def draw_factors(seed: int, wells: pd.DataFrame, config: DrawnCells) -> pd.DataFrame:
    """Factors of all cells of the wells: the columns of `wells`, cell (its number in the well), responds (how
    far it looks like its mode of action), UNTREATED and OPTICS.

    A cell responds with a probability that grows with the strength of the treatment. What does not respond
    looks untreated. Compounds of one mode differ a little, as do plates and weeks.
    """
    cells = wells.loc[wells.index.repeat(config.cells_per_well)].reset_index(drop=True)
    cells["cell"] = np.tile(np.arange(1, config.cells_per_well + 1), len(wells))
    n, names = len(cells), list(UNTREATED)
    mean, sd = np.array(list(UNTREATED.values())).T
    draws = rng.normal(seed, "cells/factors", 0, n, (len(names) + 1,))
    responds = rng.uniform(seed, "cells/responds", 0, n, (1,))[:, 0] < 0.31 + 0.36 * cells["strength"]
    response = np.where(responds, cells["strength"] * np.exp(_RESPONSE_SD * draws[:, -1]), 0)
    response = np.where(cells["compound"] == CONTROL, 0, response)
    target = np.array([[MODES[mode].get(name, np.nan) for name in names] for mode in MODES])
    change = np.where(np.isnan(target), 0, target - mean)
    change = change[[list(MODES).index(mode) for mode in cells["moa"]]]
    shift = _keyed(seed, "compound", cells["compound"], len(names))
    value = mean + response[:, None] * (change * np.exp(0.15 * shift) + _COMPOUND_SD * sd * shift[:, ::-1])
    value += sd * draws[:, :-1]
    value += sd * _WEEK_SD * _keyed(seed, "week", cells["week"].astype(str), len(names))
    value += sd * _PLATE_SD * _keyed(seed, "plate", cells["plate"], len(names))
    optics_mean, optics_sd = np.array(list(OPTICS.values())).T
    optics = optics_mean + optics_sd * _keyed(seed, "optics", cells["plate"], len(OPTICS))
    drawn = pd.DataFrame(np.maximum(value, 0), columns=names)
    seen = pd.DataFrame(optics, columns=list(OPTICS))
    return pd.concat([cells, pd.Series(response, name="responds"), drawn, seen], axis=1)


def _keyed(seed: int, what: str, name: pd.Series, n: int) -> Float64[np.ndarray, "cell n"]:
    """n standard normal draws for each cell, the same for cells of one name."""
    of = {one: rng.generator(seed, f"cells/{what}/{one}").standard_normal(n) for one in name.unique()}
    return np.stack(name.map(of).to_list())
