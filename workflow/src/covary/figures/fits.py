"""Goodness of fit and visual predictive checks of the population fits, side by side for all noise levels."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from covary.figures.style import BLACK, BLUE, GREY, OBSERVED, VERMILION, WIDTH_IN, styled
from covary.nlme.diagnostics import PredictiveCheck
from covary.wording import noise_label

_COLUMNS = 5  # noise levels beside each other
_POINTS = 2000  # of a panel; more cannot be seen and make the file large


@styled
def goodness_of_fit(residuals: Mapping[float, pd.DataFrame], units: tuple[str, str]) -> Figure:
    """Observed against individual prediction, and CWRES against time; a column per noise level.

    `residuals` has the table of `nlme.diagnostics.residual_table` of each noise variance, and `units` are
    those of time and outcome. Of many observations, some are drawn, evenly spread.
    """
    shown = dict(list(residuals.items())[:_COLUMNS])
    figure = Figure(figsize=(WIDTH_IN, 3.7), layout="constrained")
    grid = figure.subplots(2, len(shown), squeeze=False, sharey="row", sharex="row")
    style = dict(color=BLUE, markersize=1.6, markeredgewidth=0, alpha=0.5, rasterized=True)
    for (above, below), (noise_variance, table) in zip(grid.T, shown.items(), strict=True):
        some = table.iloc[np.unique(np.linspace(0, len(table) - 1, min(_POINTS, len(table))).astype(int))]
        ends = [table[["IPRED", "DV"]].min().min(), table[["IPRED", "DV"]].max().max()]
        above.plot(ends, ends, color=GREY, linewidth=1)
        above.plot(some["IPRED"], some["DV"], ".", **style)
        above.set(title=noise_label(noise_variance), xlabel=f"predicted\n({units[1]})")
        for level, line in ((0, "-"), (-1.96, ":"), (1.96, ":")):
            below.axhline(level, color=GREY, linewidth=1, linestyle=line)
        below.plot(some["TIME"], some["CWRES"], ".", **style)
        below.set(xlabel=f"time ({units[0]})")
    grid[0, 0].set_ylabel(f"observed outcome\n({units[1]})")
    grid[1, 0].set_ylabel("weighted residual")
    return figure


@styled
def predictive_checks(checks: Mapping[float, PredictiveCheck], units: tuple[str, str]) -> Figure:
    """Percentiles of observed outcomes over the bands of simulated ones; a panel per noise level.

    `checks` has the result of `nlme.diagnostics.predictive_check` of each noise variance. `units` are those
    of time and outcome.
    """
    columns = min(_COLUMNS, len(checks))
    rows = -(-len(checks) // columns)
    figure = Figure(figsize=(WIDTH_IN, 0.5 + 1.9 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axis in grid.flat[len(checks) :]:
        axis.set_visible(False)
    handles = {}
    for axis, (noise_variance, check) in zip(grid.flat, checks.items(), strict=False):
        for percentile, part in check.bands.groupby("percentile"):
            median = percentile == 50
            label = "median, simulated" if median else "5 % and 95 %, simulated"
            handles[label] = axis.fill_between(
                part["time_h"], part["low"], part["high"], color=VERMILION if median else BLUE, alpha=0.3,
                linewidth=0,
            )  # fmt: skip
            (line,) = axis.plot(part["time_h"], part["observed"], color=OBSERVED, linewidth=1.1, marker=".",
                                markersize=3, linestyle="-" if median else "--")  # fmt: skip
            handles["median, observed" if median else "5 % and 95 %, observed"] = line
        axis.set_title(noise_label(noise_variance), color=BLACK)
        axis.set_xlabel(f"time ({units[0]})")
    for row in grid:
        row[0].set_ylabel(f"outcome\n({units[1]})")
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    return figure
