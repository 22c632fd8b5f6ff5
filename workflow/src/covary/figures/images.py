"""Grids of images: examples, reconstructions, traversals."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covary.figures.style import BLACK, FROM_IMAGE, WIDTH_IN, styled
from covary.images.channels import are_stains

# Blue, magenta and green: DNA is blue as usual, and green and magenta differ for the colour-blind, too.
_STAINS = np.array([[0.25, 0.45, 1.0], [1.0, 0.15, 0.75], [0.15, 0.9, 0.2]])


@styled
def examples(
    real: UInt8[np.ndarray, "n c h w"], generated: UInt8[np.ndarray, "n c h w"], columns: int = 5
) -> Figure:
    """Test images in a block on the left, generated ones on the right, both in the order given."""
    rows = -(-len(real) // columns)
    figure = Figure(
        figsize=(WIDTH_IN, WIDTH_IN / 2 / columns * rows * aspect(real) + 0.15), layout="constrained"
    )
    blocks = figure.subfigures(1, 2, wspace=0.04)
    for block, title, images in zip(
        blocks, ("Test images", "Generated images"), (real, generated), strict=True
    ):
        block.suptitle(title, fontsize=9)
        axes = block.subplots(rows, columns, squeeze=False)
        for i, axis in enumerate(axes.flat):
            if i < len(images):
                show(axis, images[i])
            else:
                axis.set_axis_off()
    tighten(figure)
    return figure


@styled
def reconstructions(
    real: UInt8[np.ndarray, "n c h w"],
    vae: UInt8[np.ndarray, "n c h w"],
    generator: UInt8[np.ndarray, "n c h w"],
) -> Figure:
    """Test images (top), and what VAE and generator draw from their latent vectors (the paper's Figure 4)."""
    names = ("Test image", "VAE", "Generator")
    figure = Figure(figsize=(WIDTH_IN, (WIDTH_IN - 0.2) / len(real) * 3 * aspect(real)), layout="constrained")
    axes = figure.subplots(3, len(real), squeeze=False)
    for row, name, images in zip(axes, names, (real, vae, generator), strict=True):
        for axis, image in zip(row, images, strict=True):
            show(axis, image)
        row[0].set_ylabel(name)
    tighten(figure)
    return figure


@styled
def traversals(
    images: UInt8[np.ndarray, "latent value c h w"],
    latents: Sequence[int],
    values: Float[np.ndarray, " value"],
) -> Figure:
    """One latent varied along each row, the rest of z held fixed (the paper's Figure 5)."""
    n_latents, n_values = images.shape[:2]
    figure = Figure(
        figsize=(WIDTH_IN, (WIDTH_IN - 0.25) / n_values * n_latents * aspect(images) + 0.25),
        layout="constrained",
    )
    axes = figure.subplots(n_latents, n_values, squeeze=False)
    for row, latent, strip in zip(axes, latents, images, strict=True):
        for axis, value, image in zip(row, values, strip, strict=True):
            show(axis, image)
            if value == 0:
                for spine in axis.spines.values():
                    spine.set(visible=True, color=FROM_IMAGE, linewidth=1.2)
        row[0].set_ylabel(f"$z_{{{latent}}}$", rotation=0, labelpad=10, va="center")
    for axis, value in zip(axes[0], values, strict=True):
        axis.set_title(f"{value:+.2g}".replace("-", "−") if value else "0", pad=3)
    tighten(figure)
    return figure


def in_colours(
    images: UInt8[np.ndarray, "*n c h w"], channels: Sequence[str]
) -> UInt8[np.ndarray, "*n c h w"]:
    """Images as figures show them: three stains become blue, magenta and green, and are added.

    `channels` are the names of the channels. Images whose channels are red, green and blue, or of any other
    number, stay as they are.
    """
    if not are_stains(channels):
        return images
    return np.einsum("...chw,cr->...rhw", images, _STAINS).clip(0, 255).astype(np.uint8)


def show(axis: Axes, image: UInt8[np.ndarray, "c h w"]) -> None:
    """Draw an image with the full range of values, without ticks or frame.

    One channel is grey and three are colours; any other number is drawn side by side.
    """
    axis.imshow(picture(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    axis.yaxis.label.set_color(BLACK)
    for spine in axis.spines.values():
        spine.set_visible(False)


def aspect(images: UInt8[np.ndarray, "... c h w"]) -> float:
    """Height of an image as `show` draws it, over its width."""
    *_, channels, height, width = images.shape
    return height / (width if channels in (1, 3) else channels * width)


def picture(image: UInt8[np.ndarray, "c h w"]) -> UInt8[np.ndarray, "h row"] | UInt8[np.ndarray, "h w 3"]:
    """What is drawn of an image: grey, colours, or any other channels side by side."""
    return np.moveaxis(image, 0, -1) if len(image) == 3 else np.hstack(list(image))


def tighten(figure: Figure) -> None:
    """Leave little space between images."""
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)
