"""Loss curves of all trainings."""

from collections.abc import Mapping

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from covary.figures.style import BLUE, GREY, VERMILION, WIDTH_IN, look, styled
from covary.wording import noise_label, predictor_label


@styled
def training_curves(
    vae: pd.DataFrame,
    generator: pd.DataFrame,
    predictors: Mapping[tuple[float, str, str], pd.DataFrame],
) -> Figure:
    """Losses and active latents of the VAE, losses of the generator, validation losses of the predictors.

    Columns used: `vae` epoch, loss, test_loss, active_units; `generator` step, loss; each of `predictors`, by
    noise variance, name and objective, epoch and validation_loss. Each objective has an axis of its own,
    since losses of different objectives cannot be compared.
    """
    objectives = list(dict.fromkeys(objective for _, _, objective in predictors))
    figure = Figure(figsize=(WIDTH_IN, 4.8), layout="constrained")
    above, below = figure.subfigures(2, 1)
    left, activity, middle = above.subplots(1, 3)
    panels = dict(zip(objectives, below.subplots(1, len(objectives), squeeze=False)[0], strict=True))
    left.plot(vae["epoch"], vae["loss"], color=BLUE, label="training images")
    left.plot(vae["epoch"], vae["test_loss"], color=VERMILION, linestyle="--", label="test images")
    left.set(title="Image VAE", xlabel="epoch", ylabel="loss", yscale="log")
    left.legend(loc="upper right")

    activity.step(vae["epoch"], vae["active_units"], where="mid", color=BLUE)
    activity.set(title="Image VAE", xlabel="epoch", ylabel="active latents")
    activity.set_ylim(0, 1.1 * max(vae["active_units"].max(), 1))
    activity.yaxis.set_major_locator(MaxNLocator(5, integer=True))

    middle.plot(generator["step"], generator["loss"], color=BLUE, linewidth=0.7, alpha=0.35)
    window = max(1, len(generator) // 20)
    smooth = generator["loss"].rolling(window, center=True, min_periods=1).mean()
    middle.plot(generator["step"], smooth, color=BLUE)
    middle.set(title="Generator", xlabel="step", ylabel="weighted squared error", yscale="log")

    variances = list(dict.fromkeys(variance for variance, _, _ in predictors))
    names = list(dict.fromkeys(name for _, name, _ in predictors))
    colours = mpl.colormaps["viridis"]([0.9 * i / max(len(variances) - 1, 1) for i in range(len(variances))])
    for (variance, name, objective), history in predictors.items():
        i, of_predictor, axis = variances.index(variance), look(names.index(name)), panels[objective]
        axis.plot(history["epoch"], history["validation_loss"], color=colours[i], linestyle=of_predictor.line)
        kept = history.loc[history["validation_loss"].idxmin()]
        axis.plot(kept["epoch"], kept["validation_loss"], of_predictor.marker, color=colours[i],
                  markersize=4.5, markeredgecolor="white", markeredgewidth=0.6)  # fmt: skip
    for objective, axis in panels.items():
        of_objective = [name for _, name, other in predictors if other == objective]
        title = ", ".join(predictor_label(name) for name in dict.fromkeys(of_objective))
        axis.set(title=title, xlabel="epoch", ylabel="validation loss")
    handles = [Line2D([], [], color=colour) for colour in colours]
    below.legend(handles, map(noise_label, variances), loc="outside right upper", handlelength=1.6)
    if len(names) > len(objectives):
        looks = [look(k) for k in range(len(names))]
        styles = [Line2D([], [], color=GREY, linestyle=of.line, marker=of.marker) for of in looks]
        below.legend(styles, map(predictor_label, names), loc="outside lower center", ncols=3)
    for axis in (left, middle):
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.yaxis.set_minor_locator(NullLocator())
    for axis in (left, activity, *panels.values()):
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure
