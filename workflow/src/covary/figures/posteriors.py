"""Checks of posteriors: ranks of the truth among draws, coverage, sharpness."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from covary.evaluate.coverage import ALL, JOINT, LEVELS, SOURCES
from covary.figures.style import BLACK, BLUE, GREY, LIGHT_GREY, VERMILION, WIDTH_IN, look, styled
from covary.wording import noise_label, posterior_label

_BAND = 0.99
_COLOURS = dict(zip(SOURCES, (BLUE, BLACK, GREY, VERMILION), strict=True))
_MARKERS = dict(zip(SOURCES, "osD^", strict=True))


@styled
def posterior_ranks(counts: pd.DataFrame) -> Figure:
    """How often the truth has each rank, over what is expected; a row per noise level, a column per source.

    `counts` has the columns noise_variance, source, random_effect, bin and count.
    """
    from scipy.stats import binom  # takes a second, which other figures need not wait for

    variances = list(counts["noise_variance"].unique())
    effects = list(counts["random_effect"].unique())
    figure = Figure(figsize=(WIDTH_IN, 0.6 + 1.3 * len(variances)), layout="constrained")
    grid = figure.subplots(len(variances), len(SOURCES), squeeze=False, sharex=True, sharey=True)
    lines = {}
    for row, variance in zip(grid, variances, strict=True):
        for axis, source in zip(row, SOURCES, strict=True):
            rows = counts[(counts["noise_variance"] == variance) & (counts["source"] == source)]
            bins, total = rows["bin"].nunique(), rows["count"].sum() // len(effects)
            low, high = (
                binom.ppf(q, total, 1 / bins) * bins / total for q in ((1 - _BAND) / 2, (1 + _BAND) / 2)
            )
            axis.axhspan(low, high, color=LIGHT_GREY, zorder=0)
            for k, effect in enumerate(effects):
                ratio = rows[rows["random_effect"] == effect]["count"].to_numpy() * bins / total
                lines[effect] = axis.stairs(ratio, np.linspace(0, 1, bins + 1), baseline=None,
                                            color=look(k).colour, linestyle=look(k).line)  # fmt: skip
            axis.grid(visible=False)
        row[0].set_ylabel(noise_label(variance))
    for axis, source in zip(grid[0], SOURCES, strict=True):
        axis.set_title(posterior_label(source))
    grid[0, 0].set(ylim=(0, 3), xlim=(0, 1), xticks=(0, 0.5, 1))
    for axis in grid[-1]:
        axis.set_xlabel("rank of the truth / 250")
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=len(lines))
    return figure


@styled
def posterior_coverage(table: pd.DataFrame) -> Figure:
    """Coverage less the nominal level, and the excess of the negative log density; a row per noise level.

    `table` is that of `evaluate.posterior_checks.check_posteriors`, with noise_variance.
    """
    variances = list(table["noise_variance"].unique())
    figure = Figure(figsize=(WIDTH_IN, 0.7 + 1.7 * len(variances)), layout="constrained")
    grid = figure.subplots(len(variances), 2, squeeze=False, sharex="col", sharey="col")
    strata = list(table["missing"].unique())
    handles = {}
    for (left, right), variance in zip(grid, variances, strict=True):
        level = table[table["noise_variance"] == variance]
        left.axhspan(-0.02, 0.02, color=LIGHT_GREY, zorder=0)
        for k, source in enumerate(SOURCES):
            style = {
                "color": _COLOURS[source],
                "marker": _MARKERS[source],
                "markersize": 4.5,
                "linewidth": 1.0,
            }
            shift = 0.12 * (k - (len(SOURCES) - 1) / 2)
            rows = level[
                (level["source"] == source) & (level["missing"] == ALL) & (level["parameter"] != JOINT)
            ]
            error = [rows[f"coverage_{100 * nominal:.0f}"].mean() - nominal for nominal in LEVELS]
            (handles[posterior_label(source)],) = left.plot(np.arange(len(LEVELS)) + shift, error, **style)
            joint = level[(level["source"] == source) & (level["parameter"] == JOINT)]
            ends = joint[["excess_low", "excess_high"]].to_numpy() - joint[["excess"]].to_numpy()
            at = [strata.index(name) + shift for name in joint["missing"]]
            right.errorbar(at, joint["excess"], np.abs(ends).T, linestyle="none", elinewidth=1.0,
                           **(style | {"linewidth": None}))  # fmt: skip
        left.set_ylabel(f"{noise_label(variance)}\ncoverage − nominal")
        left.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol="\u00a0%"))
        left.set_xticks(range(len(LEVELS)), [f"{100 * nominal:.0f}\u00a0%" for nominal in LEVELS])
        right.set_yscale("symlog", linthresh=0.1)
        right.set_xticks(range(len(strata)), strata)
        right.set_ylabel("excess (nat)")
    grid[-1, 0].set_xlabel("nominal level")
    grid[-1, 1].set_xlabel("missing visits")
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles))
    return figure
