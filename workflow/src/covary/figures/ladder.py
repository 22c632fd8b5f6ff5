"""Models of different kind on the same records."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FormatStrFormatter, LogLocator, NullLocator

from covary.config.ladder import TRUTH
from covary.evaluate.estimators import MEASURES
from covary.evaluate.ladder import ALL, NEW
from covary.figures.style import LIMIT, WIDTH_IN, look, styled
from covary.wording import measure_label, model_label


@styled
def deep_ladder(table: pd.DataFrame, predictions: pd.DataFrame) -> Figure:
    """Evidence and errors against the numbers of training subjects and of visits, a line per model.

    The tables are those of `evaluate.ladder.ladder_tables`.
    """
    figure = Figure(figsize=(WIDTH_IN, 5.6), layout="constrained")
    (evidence, seen), (new, visits) = figure.subplots(2, 2)
    fitted = table[table["model"] != TRUTH]
    sizes, most = sorted(fitted["training_subjects"].unique()), fitted["training_subjects"].max()
    least = predictions[predictions["model"] == TRUTH].set_index("given")["rmse"]
    numbers = [given for given in predictions["given"].unique() if given not in (NEW, ALL)]
    handles = {}
    for k, (name, rows) in enumerate(fitted.groupby("model", sort=False)):
        colour, marker, line = look(k)
        style = {"color": colour, "marker": marker, "linestyle": line, "markersize": 4, "elinewidth": 0.8}
        shift = 1.04 ** (k - 2)
        half = (rows["high"] - rows["low"]) / 2
        handles[model_label(name)] = evidence.errorbar(
            rows["training_subjects"] * shift, rows["difference"], yerr=half, **style
        )
        own = predictions[predictions["model"] == name]
        for axis, given in ((seen, ALL), (new, NEW)):
            some = own[own["given"] == given]
            _errors(axis, some["training_subjects"] * shift, some, least[given], style)
        last = own[(own["training_subjects"] == most) & own["given"].isin([*numbers, ALL])]
        _errors(visits, np.arange(len(last)) + 0.05 * (k - 2), last, least[last["given"]].to_numpy(), style)
    evidence.axhline(0.0, color=LIMIT, linewidth=0.8)
    evidence.set(title="evidence of new subjects", ylabel="difference (nats)")
    evidence.set_yscale("symlog", linthresh=10)
    seen.set(title="all visits, regimen of the study", ylabel="error / error under the truth")
    new.set(title="all visits, new regimen", ylabel="error / error under the truth")
    visits.set(
        title=f"after {most:g} training subjects",
        xlabel="first visits",
        ylabel="error / error under the truth",
    )
    visits.set_xticks(np.arange(len(numbers) + 1), [*numbers, ALL])
    for axis in (evidence, seen, new):
        axis.set(xscale="log", xlabel="training subjects", xlim=(0.8 * sizes[0], 1.25 * most))
        axis.xaxis.set_major_locator(FixedLocator(sizes))
        axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axis.xaxis.set_minor_locator(NullLocator())
    for axis in (seen, new, visits):
        axis.axhline(1.0, color=LIMIT, linewidth=0.8)
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axis.yaxis.set_minor_locator(NullLocator())
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    return figure


@styled
def deep_association(table: pd.DataFrame) -> Figure:
    """R² of each measure under each estimator's model.

    The table is that of `evaluate.estimators.association_table`.
    """
    figure = Figure(figsize=(WIDTH_IN, 2.8), layout="constrained")
    axis = figure.subplots()
    for k, (name, rows) in enumerate(table.groupby("model", sort=False)):
        colour, marker, _ = look(k)
        x = np.arange(len(MEASURES)) + 0.12 * (k - (table["model"].nunique() - 1) / 2)
        own = rows.set_index("measure").loc[list(MEASURES)]
        error = np.abs(own[["low", "high"]].to_numpy() - own[["r2"]].to_numpy()).T
        axis.errorbar(x, own["r2"], yerr=error, color=colour, marker=marker, linestyle="none", markersize=5,
                      label=model_label(name))  # fmt: skip
    axis.axhline(table["explainable"].iloc[0], xmin=0.25, xmax=0.75, color=LIMIT, linewidth=0.9)
    axis.set_xticks(np.arange(len(MEASURES)), [measure_label(measure) for measure in MEASURES])
    axis.set(ylabel="R²", xlim=(-0.5, len(MEASURES) - 0.5))
    axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]), top=1.02)
    figure.legend(loc="outside lower center", ncols=min(3, table["model"].nunique()))
    return figure


def _errors(axis, x, rows: pd.DataFrame, least, style) -> None:
    error = np.abs(rows[["low", "high"]].to_numpy() - rows[["rmse"]].to_numpy()).T
    axis.errorbar(x, rows["rmse"] / least, yerr=error / least, **style)
