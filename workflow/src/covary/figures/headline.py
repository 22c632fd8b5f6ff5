"""The first figure of the report: what images should carry, what they carry, and what was found in them."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from covary.evaluate.ledger import measured_ceiling
from covary.figures.style import BLACK, GREY, LIMIT, SKY, WIDTH_IN, look, styled
from covary.wording import noise_label, percent, predictor_label

_POOLED = "all"
_BAR = 0.62


@styled
def headline(ledger: pd.DataFrame) -> Figure:
    """Shares of what an image can explain by design, a row per noise level.

    `ledger` is the table that `evaluate.association_ledger` returns.
    """
    ceiling = measured_ceiling(ledger)
    found = ledger[(ledger["part"] == "reached") & (ledger["random_effect"] == _POOLED)]
    predictors = dict(list(found.groupby("predictor", sort=False)))
    y = np.arange(len(ceiling))
    figure = Figure(figsize=(WIDTH_IN, 0.95 + 0.52 * len(ceiling)), layout="constrained")
    axis = figure.subplots()
    explainable = ceiling["explainable"].to_numpy()
    carried = np.maximum(ceiling["carried"] / explainable, 0.0)
    axis.barh(y, np.ones(len(y)), _BAR, facecolor="white", edgecolor=LIMIT, linestyle="--", linewidth=1.0)
    axis.barh(y, carried, _BAR, color=SKY, alpha=0.45)
    for at, low, high in zip(y, ceiling["low"] / explainable, ceiling["high"] / explainable, strict=True):
        axis.plot([low, high], [at, at], color=GREY, linewidth=4, alpha=0.6, solid_capstyle="butt")
    handles = [
        Patch(facecolor="white", edgecolor=LIMIT, linestyle="--", label="by design"),
        Patch(facecolor=SKY, alpha=0.45, label="carried by the images, as measured"),
    ]
    for k, (name, rows) in enumerate(predictors.items()):
        shares = rows[["value", "low", "high"]].to_numpy() / explainable[:, None]
        at = y + (k - (len(predictors) - 1) / 2) * 0.5 * _BAR
        error = np.abs(shares[:, 1:] - shares[:, :1]).T
        axis.errorbar(shares[:, 0], at, xerr=error, fmt=look(k).marker, color=look(k).colour, markersize=5,
                      markeredgecolor="white", markeredgewidth=0.5, elinewidth=1.3, zorder=3)  # fmt: skip
        handles.append(
            Line2D([], [], color=look(k).colour, marker=look(k).marker, linestyle="none",
                   label=f"found by {predictor_label(name)}")
        )  # fmt: skip
    axis.axvline(0, color=BLACK, linewidth=0.8)
    axis.set_yticks(
        y,
        [
            f"{noise_label(v)}\n{percent(e)}"
            for v, e in zip(ceiling["noise_variance"], explainable, strict=True)
        ],
    )
    axis.set_ylim(len(y) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y", visible=False)
    low = min(0.0, (found["low"] / found["explainable"]).min())
    high = max(1.0, (found["high"] / found["explainable"]).max())
    axis.set_xlim(low - 0.02, high + 0.02)
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol="\u00a0%"))
    axis.set_xlabel("share of what an image can tell by design")
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure
