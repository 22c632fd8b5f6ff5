"""Figures of a population fit."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from covary.nlme.parameters import Parameters

_BLUE, _RED, _GREY = "#2b5c8a", "#b3402a", "#8a8a8a"


def goodness_of_fit_figure(table: pd.DataFrame) -> Figure:
    """DV against PRED and IPRED, and CWRES against time and PRED, from `residual_table`."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots(2, 2)
    for ax, name in zip(axes[0], ("PRED", "IPRED"), strict=True):
        low, high = table[[name, "DV"]].min().min(), table[[name, "DV"]].max().max()
        ax.plot([low, high], [low, high], color=_GREY, lw=1)
        ax.plot(table[name], table["DV"], ".", color=_BLUE, ms=4, alpha=0.6)
        ax.set(xlabel=name, ylabel="DV")
    for ax, name in zip(axes[1], ("TIME", "PRED"), strict=True):
        for level, style in ((0, "-"), (-1.96, ":"), (1.96, ":")):
            ax.axhline(level, color=_GREY, lw=1, ls=style)
        ax.plot(table[name], table["CWRES"], ".", color=_BLUE, ms=4, alpha=0.6)
        ax.set(xlabel="Time / h" if name == "TIME" else name, ylabel="CWRES")
    return figure


def individual_fits_figure(table: pd.DataFrame, *, subjects: int = 12) -> Figure:
    """Observations, PRED and IPRED of the first subjects, from `residual_table`."""
    ids = list(dict.fromkeys(table["ID"]))[:subjects]
    columns = min(4, len(ids))
    rows = -(-len(ids) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.1 * rows), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
    for ax in axes[len(ids) :]:
        ax.set_visible(False)
    for ax, name in zip(axes, ids, strict=False):
        own = table[table["ID"] == name]
        ax.plot(own["TIME"], own["PRED"], color=_GREY, lw=1, ls="--", label="population")
        ax.plot(own["TIME"], own["IPRED"], color=_BLUE, lw=1.2, label="individual")
        ax.plot(own["TIME"], own["DV"], ".", color=_RED, ms=4, label="observed")
        ax.set_title(name, fontsize=8)
    axes[0].legend(fontsize=6, frameon=False)
    figure.supxlabel("Time / h")
    figure.supylabel("DV")
    return figure


def predictive_check_figure(check: pd.DataFrame) -> Figure:
    """Observed percentiles (lines) over the 95 % band of the simulated ones, from `predictive_check`."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    for percentile, rows in check.groupby("percentile"):
        colour = _RED if percentile == 50 else _BLUE
        ax.fill_between(rows["time_h"], rows["low"], rows["high"], color=colour, alpha=0.2, lw=0)
        ax.plot(rows["time_h"], rows["observed"], color=colour, lw=1.2, marker=".", label=f"{percentile} %")
    ax.legend(title="Percentile", frameon=False)
    ax.set(xlabel="Time / h", ylabel="DV")
    return figure


def shrinkage_figure(eta: np.ndarray, parameters: Parameters) -> Figure:
    """Histogram of each random effect's estimates over the density of its population, with the shrinkage."""
    parameters = parameters.concrete()
    figure = Figure(figsize=(2.8 * eta.shape[1], 2.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, eta.shape[1]))
    for ax, name, values, variance in zip(
        axes, parameters.random_effects, eta.T, np.diag(parameters.omega), strict=True
    ):
        sd = np.sqrt(variance)
        grid = np.linspace(-3.5 * sd, 3.5 * sd, 200)
        ax.hist(values, bins=30, density=True, color=_BLUE, alpha=0.5)
        ax.plot(grid, np.exp(-0.5 * (grid / sd) ** 2) / (sd * np.sqrt(2 * np.pi)), color=_GREY, lw=1)
        ax.set(xlabel=name, yticks=[], title=f"shrinkage {100 * (1 - np.std(values, ddof=1) / sd):.1f} %")
    return figure
