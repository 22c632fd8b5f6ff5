"""Do predictions hold at other sites: scores at seen and unseen sites, and subjects at every site."""

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from covary.figures.images import aspect, show, tighten
from covary.figures.style import BLACK, BLUE, LIGHT_GREY, VERMILION, WIDTH_IN, styled
from covary.wording import noise_label, site_method_label

_LOOKS = {"seen": (BLUE, "o", -0.16, "sites of the training"), "unseen": (VERMILION, "D", 0.16, "new sites")}


@styled
def sites(table: pd.DataFrame) -> Figure:
    """R² of methods at seen and unseen sites, beside the most that can be found; a panel per noise level.

    Large marks are all sites together, with 95 % intervals; small ones are single sites. `table` is the first
    one of `evaluate.site_methods.site_tables`.
    """
    levels = list(table.groupby("noise_variance", sort=False))
    methods = table["method"].unique()
    y = {name: i for i, name in enumerate(methods)}
    figure = Figure(figsize=(WIDTH_IN, 1.1 + 0.42 * len(methods)), layout="constrained")
    axes = figure.subplots(1, len(levels), squeeze=False, sharey=True)[0]
    for axis, (noise_variance, level) in zip(axes, levels, strict=True):
        for part, (colour, marker, shift, _) in _LOOKS.items():
            of = level[level["part"] == part]
            pooled = of[of["site"] == "all"]
            single = of[~of["site"].isin(["all", "worst", "sd"])]
            axis.plot(single["r2"], single["method"].map(y) + shift, linestyle="none", marker=marker,
                      markersize=3, color=colour, alpha=0.35, markeredgecolor="none")  # fmt: skip
            error = np.abs(pooled[["low", "high"]].to_numpy() - pooled[["r2"]].to_numpy()).T
            axis.errorbar(pooled["r2"], pooled["method"].map(y) + shift, xerr=error, fmt=marker, color=colour,
                          markersize=5.5, elinewidth=1.3, markeredgecolor="white",
                          markeredgewidth=0.5, zorder=3)  # fmt: skip
            axis.axvline(pooled["theoretical_max"].iloc[0], color=colour, linestyle="--", linewidth=1.0)
        axis.axvline(0, color=LIGHT_GREY, linewidth=0.8)
        axis.set(title=noise_label(noise_variance), xlabel="R² of η̂")
        axis.set_ylim(len(methods) - 0.5, -0.5)
        axis.grid(axis="y", visible=False)
        axis.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(methods)), [site_method_label(name) for name in methods])
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", label=label)
        for colour, marker, _, label in _LOOKS.values()
    ]
    handles.append(
        Line2D([], [], color=BLACK, linestyle="--", linewidth=1.0, label="most that can be found there")
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


@styled
def at_sites(
    drawn: UInt8[np.ndarray, "subject c h w"], scanned: UInt8[np.ndarray, "site subject c h w"], seen: int
) -> Figure:
    """The same subjects, one per row: as drawn, and as the scanner of every site shows them."""
    n_sites, n_subjects = scanned.shape[:2]
    columns = n_sites + 1
    figure = Figure(
        figsize=(WIDTH_IN, WIDTH_IN / columns * n_subjects * aspect(drawn) + 0.3), layout="constrained"
    )
    axes = figure.subplots(n_subjects, columns, squeeze=False)
    titles = ["drawn", *(f"{i + 1}" if i < seen else f"new {i - seen + 1}" for i in range(n_sites))]
    for subject, row in enumerate(axes):
        for axis, image in zip(row, (drawn[subject], *scanned[:, subject]), strict=True):
            show(axis, image)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=7, pad=2)
    tighten(figure)
    return figure
