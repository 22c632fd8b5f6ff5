"""R² of the random effects against the most that an image can explain."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from covary.dataset.association import explainable_fraction
from covary.figures.style import BLACK, FROM_RECORD, GREY, LIMIT, WIDTH_IN, look, styled
from covary.wording import percent, predictor_label


@styled
def r2_against_explainable_fraction(random_effects: pd.DataFrame) -> Figure:
    """R² of eta_hat against 1/(1 + σ²), and as a fraction of it, with 95 % intervals.

    `random_effects` is the table that `evaluate.random_effects_table` returns.
    """
    pooled = random_effects[random_effects["random_effect"] == "all"]
    of_eta_hat = pooled[pooled["term_1"] == "eta_hat"]
    record = of_eta_hat[of_eta_hat["term_2"] == "eta_approx"]
    image = of_eta_hat[of_eta_hat["term_2"] == "eta_pred"]
    predictors = dict(list(image.groupby("predictor", sort=False)))

    figure = Figure(figsize=(WIDTH_IN, 3.3), layout="constrained")
    absolute, relative = figure.subplots(1, 2, width_ratios=(1.15, 1))
    absolute.plot([0, 1], [0, 1], color=LIMIT, linestyle="--", linewidth=1.2, zorder=1)
    absolute.annotate("all that an image can explain by design", (0.64, 0.64), (-6, 6),
                      textcoords="offset points", rotation=45, rotation_mode="anchor",
                      transform_rotates_text=True, ha="center", fontsize=7.5, color=GREY)  # fmt: skip
    _points(absolute, record["noise_variance"].map(explainable_fraction), record, "r2", FROM_RECORD, "^",
            "from the record, EBE")  # fmt: skip
    positions = {v: i for i, v in enumerate(image["noise_variance"].unique())}
    for i, (name, rows) in enumerate(predictors.items()):
        label = "from the image" + (f", {predictor_label(name)}" if len(predictors) > 1 else "")
        _points(absolute, rows["theoretical_max"], rows, "r2", look(i).colour, look(i).marker, label)
        shift = 0.14 * (i - (len(predictors) - 1) / 2)
        x = rows["noise_variance"].map(positions) + shift
        fractions = rows.assign(**{c: rows[c] / rows["theoretical_max"] for c in ("r2", "r2_low", "r2_high")})
        _points(relative, x, fractions, "r2", look(i).colour, look(i).marker, label)
        if len(predictors) == 1:
            for at, value in zip(x, fractions["r2"], strict=True):
                relative.annotate(percent(value, 0), (at, value), (6, 0), textcoords="offset points",
                                  va="center", fontsize=7.5, color=BLACK)  # fmt: skip
    absolute.set(xlabel="explainable fraction 1/(1 + σ²)", ylabel=r"$R^2$ of $\hat\eta$", xlim=(-0.03, 1.03))
    absolute.set_ylim(min(-0.03, absolute.get_ylim()[0]), 1.03)
    figure.legend(
        *absolute.get_legend_handles_labels(), loc="outside lower center", ncols=1 + len(predictors)
    )

    relative.axhline(1, color=LIMIT, linestyle="--", linewidth=1.2, zorder=1)
    relative.axhline(0, color=GREY, linewidth=0.7, zorder=1)
    relative.set_xticks(list(positions.values()), [f"{v:g}" for v in positions])
    relative.set_xlim(-0.5, len(positions) - 0.3)
    low, high = relative.get_ylim()
    relative.set_ylim(min(low, -0.03), max(high, 1.06))
    relative.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    relative.set(xlabel="noise variance σ²", ylabel="fraction of what can be explained")
    return figure


def _points(axis: Axes, x, rows: pd.DataFrame, column: str, colour: str, marker: str, label: str) -> None:
    y = rows[column].to_numpy()
    error = np.abs(np.stack([y - rows[f"{column}_low"], rows[f"{column}_high"] - y]))
    axis.errorbar(x, y, error, fmt=marker, color=colour, markersize=5, markeredgecolor="white",
                  markeredgewidth=0.5, elinewidth=1.2, capsize=2.5, label=label, zorder=3)  # fmt: skip
