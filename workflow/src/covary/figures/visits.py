"""Forecasts against the number of first visits."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from covary.evaluate.outcomes import NO_IMAGE
from covary.figures.style import FROM_RECORD, WIDTH_IN, look, styled
from covary.wording import noise_label, predictor_label

_COLUMNS = 3


@styled
def visits_worth(table: pd.DataFrame) -> Figure:
    """CRPS against the number of first visits, with and without the image; a panel per noise level.

    `table` is that of `evaluate.visits_worth.visits_worth_table`.
    """
    levels = list(table.groupby("noise_variance", sort=False))
    columns = min(_COLUMNS, len(levels))
    rows = -(-len(levels) // columns)
    figure = Figure(figsize=(WIDTH_IN, 0.6 + 2.1 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for axis in grid.flat[len(levels) :]:
        axis.set_visible(False)
    predictors = [name for name in table["predictor"].unique() if name != NO_IMAGE]
    handles = {}
    for axis, (noise_variance, level) in zip(grid.flat, levels, strict=False):
        looks = {NO_IMAGE: (FROM_RECORD, "x", "--")}
        looks |= {name: tuple(look(k)) for k, name in enumerate(predictors)}
        for k, (name, (colour, marker, line)) in enumerate(looks.items()):
            of = level[level["predictor"] == name]
            error = np.abs(of[["crps_low", "crps_high"]].to_numpy() - of[["crps"]].to_numpy()).T
            label = "visits alone" if name == NO_IMAGE else f"image and visits, {predictor_label(name)}"
            shift = 0.08 * (k - len(predictors) / 2)
            handles[label] = axis.errorbar(of["visits"] + shift, of["crps"], yerr=error, color=colour,
                                           marker=marker, linestyle=line, markersize=4, elinewidth=0.8,
                                           linewidth=1.1)  # fmt: skip
            if name != NO_IMAGE:
                alone, crps = of.iloc[0][["alone", "crps"]]
                axis.plot([0, alone], [crps, crps], color=colour, linestyle=":", linewidth=1.0)
        axis.set(title=noise_label(noise_variance), xlabel="first visits", yscale="log")
        axis.xaxis.set_major_locator(FixedLocator(level["visits"].unique()))
    for row in grid:
        row[0].set_ylabel("CRPS of later outcomes")
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(3, len(handles)))
    return figure
