"""Coverage of predictive intervals."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from covary.figures.style import LIMIT, WIDTH_IN, look, styled
from covary.wording import noise_label, predictor_label

_POOLED = "all"


@styled
def calibration(table: pd.DataFrame) -> Figure:
    """Share of subjects whose eta_hat lies inside predictive intervals, beside the nominal shares.

    `table` is what `evaluate.calibration_table` returns; its pooled rows are drawn.
    """
    pooled = table[table["random_effect"] == _POOLED]
    variances = list(pooled["noise_variance"].unique())
    predictors = dict(list(pooled.groupby("predictor", sort=False)))
    figure = Figure(figsize=(WIDTH_IN, 3.2), layout="constrained")
    axis = figure.subplots()
    for level in pooled["level"].unique():
        axis.axhline(level, color=LIMIT, linestyle="--", linewidth=1.0, zorder=1)
    width = 0.7 / len(predictors)
    for k, (name, rows) in enumerate(predictors.items()):
        x = rows["noise_variance"].map(variances.index) + (k - (len(predictors) - 1) / 2) * width
        error = np.abs(np.stack([rows["coverage"] - rows["low"], rows["high"] - rows["coverage"]]))
        axis.errorbar(x, rows["coverage"], error, fmt=look(k).marker, color=look(k).colour, markersize=5,
                      markeredgecolor="white", markeredgewidth=0.5, elinewidth=1.2, capsize=2.5,
                      label=predictor_label(name), zorder=3)  # fmt: skip
    axis.grid(axis="x", visible=False)
    axis.set_xticks(range(len(variances)), [noise_label(v) for v in variances])
    axis.set_yticks(list(pooled["level"].unique()))
    axis.set(ylabel=r"share of $\hat\eta$ inside the interval", xlim=(-0.5, len(variances) - 0.5))
    axis.set_ylim(min(0.35, pooled["low"].min() - 0.03), 1.02)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol="\u00a0%"))
    figure.legend(loc="outside lower center", ncols=2)
    return figure
