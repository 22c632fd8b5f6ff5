"""Learning curves, and the number of subjects needed."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from covary.figures.style import (
    BLACK,
    FROM_IMAGE,
    FROM_RECORD,
    GREY,
    LIMIT,
    SKY,
    WIDTH_IN,
    look,
    styled,
)
from covary.wording import noise_label, predictor_label

_COUNTS = {
    "ideal": ("a model that finds all there is by design", LIMIT, "D"),
    "carried": ("a model that finds all that images carry", SKY, "^"),
    "trained": ("the model as trained here", FROM_RECORD, "s"),
    "from_scratch": ("a model trained on the study itself", FROM_IMAGE, "o"),
}


@styled
def learning_curve(curve: pd.DataFrame, power: pd.DataFrame) -> Figure:
    """Above, R² against the number of training subjects; below, subjects for 80 % power at each noise level.

    `curve` and `power` are the tables that `evaluate.learning_curves` returns. The fitted curve is dashed
    where it is extrapolated. An arrow means that the interval has no upper end. A hollow mark
    means that the number is below the smallest training size.
    """
    if curve.empty:
        figure = Figure(figsize=(WIDTH_IN, 0.5))
        figure.text(0.5, 0.5, "no learning curve was measured", ha="center", va="center")
        return figure
    variances = list(curve["noise_variance"].unique())
    predictors = list(curve["predictor"].unique())
    counts = 0.55 + 0.16 * len(variances) * (1 + len(_COUNTS) * len(predictors)) * 0.85
    figure = Figure(figsize=(WIDTH_IN, 2.1 + counts), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(2.1, counts))
    panels = above.subplots(1, len(variances), squeeze=False)[0]
    for axis, variance in zip(panels, variances, strict=True):
        level = curve[curve["noise_variance"] == variance]
        for k, name in enumerate(predictors):
            _curve(axis, level[level["predictor"] == name], look(k).colour, look(k).marker)
        axis.axhline(level["theoretical_max"].iloc[0], color=LIMIT, linestyle="--", linewidth=1.0)
        axis.axhline(0, color=GREY, linewidth=0.7)
        axis.set(title=noise_label(variance), xscale="log")
        axis.yaxis.set_major_locator(MaxNLocator(4))
        _plain_log(axis.xaxis)
        measured = level[level["kind"] == "measured"]
        low = min(0.0, measured["low"].min(), level["r2"].min())
        axis.set_ylim(low - 0.03 * level["theoretical_max"].iloc[0], 1.06 * level["theoretical_max"].iloc[0])
        axis.tick_params(labelsize=7)
    panels[0].set_ylabel(r"$R^2$ of $\hat\eta$ from the image")
    above.supxlabel("training subjects", fontsize=9)

    axis = below.subplots()
    _counts(axis, power, variances, predictors, smallest=curve["subjects"].min())
    below.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _curve(axis: Axes, rows: pd.DataFrame, colour: str, marker: str) -> None:
    measured, fitted = (rows[rows["kind"] == kind] for kind in ("measured", "fitted"))
    axis.fill_between(
        fitted["subjects"], fitted["low"], fitted["high"], color=colour, alpha=0.18, linewidth=0
    )
    largest = measured["subjects"].max()
    for part, style in (
        (fitted[fitted["subjects"] <= 1.001 * largest], "-"),
        (fitted[fitted["subjects"] >= 0.999 * largest], "--"),
    ):
        axis.plot(part["subjects"], part["r2"], color=colour, linestyle=style, linewidth=1.3)
    error = np.abs(np.stack([measured["r2"] - measured["low"], measured["high"] - measured["r2"]]))
    axis.errorbar(measured["subjects"], measured["r2"], error, fmt=marker, color=colour, markersize=4.5,
                  markeredgecolor="white", markeredgewidth=0.5, elinewidth=1.0, zorder=3)  # fmt: skip


def _counts(
    axis: Axes, power: pd.DataFrame, variances: list[float], predictors: list[str], smallest: float
) -> None:
    ends = power[[c for c in power if c.split("_low")[0].split("_high")[0] in _COUNTS]].to_numpy(float)
    largest = 10 ** np.ceil(np.log10(ends[np.isfinite(ends)].max(initial=1000.0)))
    rows = len(_COUNTS) * len(predictors)
    for row in power.itertuples():
        base, k = variances.index(row.noise_variance), predictors.index(row.predictor)
        for j, (column, (_, colour, marker)) in enumerate(_COUNTS.items()):
            y = base + ((j * len(predictors) + k) - (rows - 1) / 2) * 0.72 / rows
            value = getattr(row, column)
            low, high = (getattr(row, f"{column}_{end}", value) for end in ("low", "high"))
            axis.plot([min(low, largest), min(high, largest)], [y, y], color=colour, linewidth=1.4, zorder=2)
            if np.isinf(high):
                axis.plot([largest], [y], ">", color=colour, markersize=4, zorder=2, clip_on=False)
            if np.isfinite(value):
                hollow = column == "from_scratch" and value < smallest
                edges = {"markerfacecolor": "white"} if hollow else {"markeredgecolor": "white"}
                axis.plot([value], [y], marker, color=colour, markersize=5, linestyle="none", zorder=3,
                          markeredgewidth=1.1 if hollow else 0.5, **edges)  # fmt: skip
                name = f"< {smallest:,.0f}" if hollow else f"{value:,.0f}"
            else:
                name = "cannot be said" + (f", at least {low:,.0f}" if np.isfinite(low) else "")
            if len(predictors) > 1:
                name += f", {predictor_label(row.predictor)}"
            anchor = min(value, high, largest) if np.isfinite(value) else min(low, largest)
            axis.annotate(name, (anchor, y), (7 if np.isfinite(value) else -7, 0), textcoords="offset points",
                          ha="left" if np.isfinite(value) else "right", va="center", fontsize=7, color=BLACK,
                          zorder=4, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip
    for label, colour, marker in _COUNTS.values():
        axis.plot([], [], marker, color=colour, markersize=5, label=label, linestyle="none")
    axis.grid(axis="y", visible=False)
    axis.set_yticks(range(len(variances)), [noise_label(v) for v in variances])
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(len(variances) - 0.5, -0.5)
    axis.set(xscale="log", xlabel="subjects for 80\u00a0% power", xlim=(3, largest))
    axis.xaxis.set_major_locator(LogLocator(numticks=12))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))


def _plain_log(axis) -> None:
    axis.set_major_locator(LogLocator(numticks=4))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda n, _: f"{n / 1000:g}k" if n >= 1000 else f"{n:g}"))
