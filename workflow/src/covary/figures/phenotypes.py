"""Cells, the modes of action that profiles tell apart, and the families of VAEs side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from covary.figures.images import in_colours, show
from covary.figures.style import BLACK, BLUE, GREY, VERMILION, WIDTH_IN, look, styled
from covary.images.channels import numbered


def merged(image: UInt8[np.ndarray, "c h w"]) -> UInt8[np.ndarray, "3 h w"]:
    """Three stains in their colours, added; other numbers of channels as they are, in grey."""
    if len(image) != 3:
        return np.repeat(image.mean(axis=0, keepdims=True), 3, axis=0).astype(np.uint8)
    return in_colours(image, numbered(3))


@styled
def cells_by_mode(cells: Mapping[str, UInt8[np.ndarray, "n c h w"]]) -> Figure:
    """Cells of each mode of action in one row."""
    columns = max(map(len, cells.values()))
    label_in = 1.45
    side_in = (WIDTH_IN - label_in) / columns
    figure = Figure(figsize=(WIDTH_IN, side_in * len(cells)))
    axes = figure.subplots(len(cells), columns, squeeze=False)
    for row, (mode, images) in zip(axes, cells.items(), strict=True):
        for axis, image in zip(row, images, strict=False):
            show(axis, merged(image))
        for axis in row[len(images) :]:
            axis.set_axis_off()
        row[0].set_ylabel(_wrapped(mode), rotation=0, ha="right", va="center", fontsize=8)
    figure.subplots_adjust(label_in / WIDTH_IN, 0, 1, 1, wspace=0.03, hspace=0.03)
    return figure


@styled
def phenotype_accuracy(accuracy: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Accuracies of all kinds of features with their intervals; families of VAEs are filled.

    `accuracy` has one row per kind of features: features, accuracy, low and high. `names` are the names of
    families.
    """
    rows = accuracy.iloc[::-1].reset_index(drop=True)
    figure = Figure(figsize=(WIDTH_IN, 0.5 + 0.24 * len(rows)), layout="constrained")
    axis = figure.subplots()
    for i, row in rows.iterrows():
        is_family = row["features"] in names
        axis.plot([row["low"], row["high"]], [i, i], color=BLUE if is_family else GREY, linewidth=1.4)
        axis.plot(row["accuracy"], i, "o" if is_family else "D", color=BLUE if is_family else GREY,
                  markerfacecolor=BLUE if is_family else "white", markersize=5.5)  # fmt: skip
    axis.set_yticks(range(len(rows)), [names.get(name, name) for name in rows["features"]])
    axis.set(xlim=(0, 1), xlabel="treatments whose mode of action is right (not same compound)")
    axis.grid(axis="y", visible=False)
    return figure


@styled
def confusion_matrix(counts: pd.DataFrame) -> Figure:
    """Treatments of each mode of action (rows) by the mode they were taken for (columns)."""
    n = len(counts)
    figure = Figure(figsize=(WIDTH_IN * 0.85, WIDTH_IN * 0.72), layout="constrained")
    axis = figure.subplots()
    values = counts.to_numpy()
    share = values / values.sum(axis=1, keepdims=True).clip(min=1)
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.argwhere(values):
        axis.text(j, i, values[i, j], ha="center", va="center", fontsize=8,
                  color="white" if share[i, j] > 0.55 else BLACK)  # fmt: skip
    axis.set_xticks(range(n), counts.columns, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(n), counts.index)
    axis.set(xlabel="mode of the nearest profile of another compound", ylabel="mode of action")
    axis.grid(False)
    return figure


@styled
def mode_correlations(correlations: pd.DataFrame) -> Figure:
    """|Correlation| of modes of action (rows) with latents (columns, sorted by their sums)."""
    figure = Figure(figsize=(WIDTH_IN, 2.9), layout="constrained")
    axis = figure.subplots()
    drawn = axis.imshow(correlations.to_numpy(), cmap="viridis", vmin=0, vmax=0.3, aspect="auto",
                        interpolation="nearest")  # fmt: skip
    axis.set_yticks(range(len(correlations)), correlations.index)
    axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axis.set(xlabel="latents, sorted by the sum of their correlations")
    axis.grid(False)
    figure.colorbar(drawn, ax=axis, label="|correlation|", extend="max", pad=0.01)
    return figure


@styled
def interpolations(
    rows: Sequence[tuple[str, float, UInt8[np.ndarray, "column c h w"]]],
) -> Figure:
    """From the centre cell of untreated cells to that of a treatment: the cells themselves at both ends.

    Each row has a name, the cosine of the two latent vectors, and its images from left to right.
    """
    columns = len(rows[0][2])
    label_in, title_in = 1.5, 0.2
    side_in = (WIDTH_IN - label_in) / columns
    figure = Figure(figsize=(WIDTH_IN, side_in * len(rows) + title_in))
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, (name, cosine, images) in zip(axes, rows, strict=True):
        for axis, image in zip(row, images, strict=True):
            show(axis, merged(image))
        text = f"{name}\ncosine {f'{cosine:.2f}'.replace('-', '−')}"
        row[0].set_ylabel(text, rotation=0, ha="right", va="center", fontsize=7)
    axes[0, 0].set_title("DMSO", fontsize=8, pad=3)
    axes[0, columns // 2].set_title("decoded", fontsize=8, pad=3)
    axes[0, -1].set_title("treated", fontsize=8, pad=3)
    top = 1 - title_in / figure.get_size_inches()[1]
    figure.subplots_adjust(label_in / WIDTH_IN, 0, 1, top, wspace=0.04, hspace=0.04)
    return figure


@styled
def family_reconstructions(
    cells: UInt8[np.ndarray, "n c h w"],
    reconstructions: Mapping[str, UInt8[np.ndarray, "n c h w"]],
    channels: Sequence[str],
) -> Figure:
    """Each channel and the merged image of some cells (above), and what each family makes of them."""
    n, c = cells.shape[:2]
    rows = {"cell": cells} | dict(reconstructions)
    label_in, title_in = 1.05, 0.2
    side_in = (WIDTH_IN - label_in) / (n * (c + 1))
    figure = Figure(figsize=(WIDTH_IN, side_in * len(rows) + title_in))
    axes = figure.subplots(len(rows), n * (c + 1), squeeze=False)
    for row, (name, images) in zip(axes, rows.items(), strict=True):
        for k, image in enumerate(images):
            for i, channel in enumerate(image):
                show(row[k * (c + 1) + i], channel[None])
            show(row[k * (c + 1) + c], merged(image))
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    for k in range(n):
        for i, name in enumerate([*channels, "merged"]):
            axes[0, k * (c + 1) + i].set_title(name, fontsize=8, pad=3)
    top = 1 - title_in / figure.get_size_inches()[1]
    figure.subplots_adjust(label_in / WIDTH_IN, 0, 1, top, wspace=0.04, hspace=0.04)
    return figure


@styled
def open_gates(shares: Mapping[str, Float[np.ndarray, " image"]], alpha: Mapping[str, float]) -> Figure:
    """How many of the latents each image opens, in the families with gates, and the share of the prior."""
    figure = Figure(figsize=(WIDTH_IN, 1.9), layout="constrained")
    axes = figure.subplots(1, max(len(shares), 1), squeeze=False)[0]
    for axis, (name, of_images) in zip(axes, shares.items(), strict=False):
        axis.hist(of_images, bins=40, color=BLUE, alpha=0.75)
        axis.axvline(alpha[name], color=VERMILION, linestyle="--")
        axis.text(alpha[name], 0.97, " α", color=VERMILION, va="top", transform=axis.get_xaxis_transform())
        axis.set(title=name, xlabel="expected share of open gates", ylabel="images", xlim=(0, None))
    if not shares:
        _say(axes[0], "No family with gates was trained.")
    return figure


@styled
def family_curves(histories: Mapping[str, pd.DataFrame], values: int) -> Figure:
    """Squared error of an image and KL of each family, over epochs; `values` are those of an image."""
    figure = Figure(figsize=(WIDTH_IN, 2.4), layout="constrained")
    error, divergence, active = figure.subplots(1, 3)
    for k, (name, history) in enumerate(histories.items()):
        of = look(k)
        error.plot(
            history["epoch"], values * history["test_mse"], color=of.colour, linestyle=of.line, label=name
        )
        divergence.plot(history["epoch"], history["test_kl"], color=of.colour, linestyle=of.line)
        active.plot(history["epoch"], history["active_units"], color=of.colour, linestyle=of.line)
    error.set(title="Squared error of an image", xlabel="epoch", ylabel="test images", yscale="log")
    divergence.set(title="KL divergence", xlabel="epoch", ylabel="nats")
    active.set(title="Active latents", xlabel="epoch", ylim=(0, None))
    active.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.legend(loc="outside lower center", ncols=4)
    for axis in (error, divergence, active):
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure


def _say(axis: Axes, text: str) -> None:
    axis.text(0.5, 0.5, text, ha="center", va="center", transform=axis.transAxes)
    axis.set_axis_off()


def _wrapped(mode: str) -> str:
    head, _, tail = mode.rpartition(" ")
    return f"{head}\n{tail}" if len(mode) > 16 and head else mode
