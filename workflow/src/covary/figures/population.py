"""Figures of one population fit, for who uses the engine as a library; those of the report are in `fits`."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import ndtri

from covary.figures.style import BLUE, GREY, VERMILION
from covary.nlme.diagnostics import PredictiveCheck
from covary.nlme.parameters import Parameters


def goodness_of_fit_figure(table: pd.DataFrame) -> Figure:
    """DV against PRED and IPRED, and CWRES against time and PRED, from `residual_table`."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots(2, 2)
    for ax, name in zip(axes[0], ("PRED", "IPRED"), strict=True):
        low, high = table[[name, "DV"]].min().min(), table[[name, "DV"]].max().max()
        ax.plot([low, high], [low, high], color=GREY, lw=1)
        ax.plot(table[name], table["DV"], ".", color=BLUE, ms=4, alpha=0.6)
        ax.set(xlabel=name, ylabel="DV")
    for ax, name in zip(axes[1], ("TIME", "PRED"), strict=True):
        for level, style in ((0, "-"), (-1.96, ":"), (1.96, ":")):
            ax.axhline(level, color=GREY, lw=1, ls=style)
        ax.plot(table[name], table["CWRES"], ".", color=BLUE, ms=4, alpha=0.6)
        ax.set(xlabel="time" if name == "TIME" else name, ylabel="CWRES")
    return figure


def individual_fits_figure(
    table: pd.DataFrame, curves: pd.DataFrame | None = None, *, subjects: int = 12
) -> Figure:
    """Observations, PRED and IPRED of the first subjects, from `residual_table`; lines on a fine grid if
    there are `individual_curves`."""
    ids = list(dict.fromkeys(table["ID"]))[:subjects]
    columns = min(4, len(ids))
    rows = -(-len(ids) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.1 * rows), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
    for ax in axes[len(ids) :]:
        ax.set_visible(False)
    lines = table if curves is None else curves
    for ax, name in zip(axes, ids, strict=False):
        own, line = table[table["ID"] == name], lines[lines["ID"] == name]
        ax.plot(line["TIME"], line["PRED"], color=GREY, lw=1, ls="--", label="population")
        ax.plot(line["TIME"], line["IPRED"], color=BLUE, lw=1.2, label="individual")
        ax.plot(own["TIME"], own["DV"], ".", color=VERMILION, ms=4, label="observed")
        ax.set_title(name, fontsize=8)
    axes[0].legend(fontsize=6, frameon=False)
    figure.supxlabel("time")
    figure.supylabel("DV")
    return figure


def predictive_check_figure(check: PredictiveCheck) -> Figure:
    """Observations (points) and their percentiles (lines) over the 95 % band of the simulated percentiles,
    one panel per stratum, from `predictive_check`."""
    strata = list(dict.fromkeys(check.bands.get("stratum", [""])))
    figure = Figure(figsize=(6 if len(strata) == 1 else 4 * len(strata), 4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(strata), sharey=True))
    for ax, stratum in zip(axes, strata, strict=True):
        bands, points = check.bands, check.points
        if "stratum" in bands:
            bands, points = bands[bands["stratum"] == stratum], points[points["stratum"] == stratum]
            ax.set_title(str(stratum), fontsize=9)
        ax.plot(points["time_h"], points["value"], ".", color=GREY, ms=3, alpha=0.5, zorder=0)
        for percentile, rows in bands.groupby("percentile"):
            colour = VERMILION if percentile == 50 else BLUE
            ax.fill_between(rows["time_h"], rows["low"], rows["high"], color=colour, alpha=0.2, lw=0)
            ax.plot(
                rows["time_h"], rows["observed"], color=colour, lw=1.2, marker=".", label=f"{percentile} %"
            )
        ax.set(xlabel="time")
    axes[0].legend(title="Percentile", frameon=False)
    axes[0].set(ylabel="DV")
    return figure


def npde_figure(table: pd.DataFrame) -> Figure:
    """NPDE against time, and their quantiles against those of the normal distribution, from `npde`."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    over_time, quantiles = figure.subplots(1, 2)
    for level, style in ((0, "-"), (-1.96, ":"), (1.96, ":")):
        over_time.axhline(level, color=GREY, lw=1, ls=style)
    over_time.plot(table["TIME"], table["NPDE"], ".", color=BLUE, ms=4, alpha=0.6)
    over_time.set(xlabel="time", ylabel="NPDE")
    expected = ndtri((np.arange(len(table)) + 0.5) / len(table))
    quantiles.plot(expected[[0, -1]], expected[[0, -1]], color=GREY, lw=1)
    quantiles.plot(expected, np.sort(table["NPDE"]), ".", color=BLUE, ms=4, alpha=0.6)
    quantiles.set(xlabel="Normal quantile", ylabel="NPDE")
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
        ax.hist(values, bins=30, density=True, color=BLUE, alpha=0.5)
        ax.plot(grid, np.exp(-0.5 * (grid / sd) ** 2) / (sd * np.sqrt(2 * np.pi)), color=GREY, lw=1)
        ax.set(xlabel=name, yticks=[], title=f"shrinkage {100 * (1 - np.std(values, ddof=1) / sd):.1f} %")
    return figure
