"""The parts of the explainable fraction."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from covary.figures.style import BLACK, FROM_IMAGE, FROM_RECORD, LIGHT_GREY, ORANGE, SKY, WIDTH_IN, styled
from covary.wording import noise_label, percent, predictor_label

# From left to right in a bar: the part that was reached, then the losses, beginning with the last stage.
_PARTS = {
    "reached": ("found by the predictor", FROM_IMAGE, "", "white"),
    "lost_to_site": ("lost to the site", ORANGE, "", BLACK),
    "lost_in_predictor": ("lost in the predictor", LIGHT_GREY, "", BLACK),
    "lost_in_estimator": ("lost in the estimator", FROM_RECORD, "", "white"),
    "lost_in_image": ("lost in the image", SKY, "////", BLACK),
}
_POOLED = "all"
_BAR, _THIN, _GAP = 0.44, 0.085, 0.03
_LABEL_PT = 7.5
_TICK_PT = 29  # room that the label of a tick needs
_PANELS = 0.8  # share of the figure's width


@styled
def association_ledger(ledger: pd.DataFrame) -> Figure:
    """Bars of the parts as shares of the explainable fraction; a panel per predictor, a row per level.

    Negative parts lie left of 0.

    `ledger` is the table that `evaluate.association_ledger` returns. The thick bar is for all random effects;
    the thin bars below it are for the single ones, in order. The whisker is the 95 % interval of the part
    reached.
    """
    predictors = dict(list(ledger.groupby("predictor", sort=False)))
    variances, parts = list(ledger["noise_variance"].unique()), set(ledger["part"])
    figure = Figure(figsize=(WIDTH_IN, 0.85 + 0.62 * len(variances)), layout="constrained")
    panels = figure.subplots(1, len(predictors), squeeze=False, sharey=True)[0]
    for axis, (name, rows) in zip(panels, predictors.items(), strict=True):
        labels = []
        for i, variance in enumerate(variances):
            labels += _bars(axis, i, rows[rows["noise_variance"] == variance])
        axis.axvline(0, color=BLACK, linewidth=0.8)
        axis.axvline(1, color=BLACK, linewidth=0.8, linestyle="--")
        axis.grid(axis="y", visible=False)
        axis.set(title=predictor_label(name), xlabel="share of what can be explained")
        axis.set_xlim(min(0, axis.get_xlim()[0]), max(1.02, axis.get_xlim()[1]))
        panel_pt = 72 * WIDTH_IN * _PANELS / len(panels)
        axis.set_xticks(_ticks(axis, panel_pt))
        axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol="\u00a0%"))
        _write(axis, labels, panel_pt)
    panels[0].set_yticks(
        range(len(variances)),
        [f"{noise_label(v)}\nof {percent(1 / (1 + v))}" for v in variances],
    )
    panels[0].set_ylim(len(variances) - 0.36, -0.36)
    for axis in panels:
        axis.tick_params(axis="y", length=0)
    handles = [
        Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=text)
        for part, (text, colour, hatch, _) in _PARTS.items()
        if part in parts
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), handlelength=1.4, handleheight=1.0
    )
    figure.get_layout_engine().set(wspace=0.06)
    return figure


def _ticks(axis: Axes, panel_pt: float) -> np.ndarray:
    """From 0 to 1 in the finest steps that leave room for their labels in a panel so wide."""
    left, right = axis.get_xlim()
    step = next((s for s in (0.25, 0.5) if s / (right - left) * panel_pt >= _TICK_PT), 1.0)
    return np.arange(0, 1 + step / 2, step)


class _Label(NamedTuple):
    """The number of a part, and where it is to stand."""

    x: float
    y: float
    share: float
    part: str


def _write(axis: Axes, labels: list[_Label], panel_pt: float) -> None:
    """Write the numbers of the parts that are wide enough for them in a panel so wide."""
    left, right = axis.get_xlim()
    for label in labels:
        _, colour, hatch, ink = _PARTS[label.part]
        text = percent(label.share, 0) if label.share < 0.995 else "all"
        if label.share / (right - left) * panel_pt < 0.62 * _LABEL_PT * len(text):
            continue
        backing = {"facecolor": colour, "edgecolor": "none", "pad": 0.5} if hatch else None
        axis.text(
            label.x, label.y, text, ha="center", va="center", fontsize=_LABEL_PT, color=ink, bbox=backing
        )


def _bars(axis: Axes, position: int, rows: pd.DataFrame) -> list[_Label]:
    """Draw the bars of one noise level; return the numbers of the thick one."""
    labels = []
    effects = list(rows["random_effect"].unique())
    for k, effect in enumerate(effects):
        pooled = effect == _POOLED
        height = _BAR if pooled else _THIN
        top = position - _BAR / 2 if pooled else position + _BAR / 2 + _GAP + (k - 1) * (_THIN + _GAP)
        parts = rows[rows["random_effect"] == effect].set_index("part")
        explainable = parts["value"].sum()
        ends = {True: 0.0, False: 0.0}  # of what is drawn right of 0, and left of it
        for part, (_, colour, hatch, _) in _PARTS.items():
            if part not in parts.index:
                continue
            width = parts.loc[part, "value"] / explainable
            left = ends[width >= 0]
            axis.barh(top, width, height, left, align="edge", color=colour, hatch=hatch,
                      edgecolor="white", linewidth=0.4)  # fmt: skip
            if pooled:
                labels.append(_Label(left + width / 2, top + height / 2, width, part))
            ends[width >= 0] += width
        if pooled:
            low, high = parts.loc["reached", ["low", "high"]] / explainable
            y = top + 0.88 * height
            axis.plot([low, high], [y, y], color=BLACK, linewidth=1.2, marker="|", markersize=4)
    return labels
