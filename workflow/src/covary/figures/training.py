"""Loss curves of all trainings."""

from collections.abc import Mapping

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from covary.figures.style import BLUE, GREY, MARKERS, VERMILION, WIDTH_IN, styled
from covary.wording import noise_label, predictor_label

_LINE_STYLES = ("-", "--", "-.", ":", (0, (1, 3)))


@styled
def training_curves(
    vae: pd.DataFrame,
    generator: pd.DataFrame,
    predictors: Mapping[tuple[float, str], pd.DataFrame],
) -> Figure:
    """Losses and active latents of the VAE, losses of the generator, validation losses of the predictors.

    Columns used: `vae` epoch, loss, test_loss, active_units; `generator` step, loss; each of `predictors`, by
    noise variance and name, epoch, validation_loss and best (true where the weights were kept).
    """
    figure = Figure(figsize=(WIDTH_IN, 4.8), layout="constrained")
    (left, activity), (middle, right) = figure.subplots(2, 2)
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

    variances = list(dict.fromkeys(variance for variance, _ in predictors))
    names = list(dict.fromkeys(name for _, name in predictors))
    colours = mpl.colormaps["viridis"]([0.9 * i / max(len(variances) - 1, 1) for i in range(len(variances))])
    for (variance, name), history in predictors.items():
        i, k = variances.index(variance), names.index(name)
        right.plot(history["epoch"], history["validation_loss"], color=colours[i], linestyle=_LINE_STYLES[k],
                   label=noise_label(variance) if k == 0 else None)  # fmt: skip
        kept = history.loc[history["validation_loss"].idxmin()]
        right.plot(kept["epoch"], kept["validation_loss"], MARKERS[k], color=colours[i], markersize=4.5,
                   markeredgecolor="white", markeredgewidth=0.6)  # fmt: skip
    if len(names) > 1:
        styles = [
            Line2D([], [], color=GREY, linestyle=style, marker=marker)
            for style, marker in zip(_LINE_STYLES, MARKERS, strict=True)
        ]
        figure.legend(
            styles[: len(names)], map(predictor_label, names), loc="outside lower right", ncols=len(names)
        )
    right.set(title="Predictors", xlabel="epoch", ylabel="validation loss")
    right.legend(loc="upper left", bbox_to_anchor=(1, 1), handlelength=1.6, borderaxespad=0.3)
    for axis in (left, middle):
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.yaxis.set_minor_locator(NullLocator())
    for axis in (left, activity, right):
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure
