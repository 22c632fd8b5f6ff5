"""Quality of the generated images."""

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from covary.figures.images import aspect, show
from covary.figures.style import FROM_IMAGE, GREY, LIGHT_GREY, WIDTH_IN, styled

_MOST = 12
_NAMES = {
    "vae_encoder": "the VAE's encoder",
    "oct_64px_reader": "a network that reads known factors of phantoms",
}


@styled
def generator_quality(quality: pd.DataFrame) -> Figure:
    """Read-back of each active latent; distances to test images beside those of training images.

    `quality` is the table of `covary.quality`. Distances are those in its first feature space. At most 12
    active latents are shown, those that are read back best.
    """
    r2 = quality[quality["measure"] == "readback_r2"].pivot(index="latent", columns="of", values="value")
    r2 = r2.sort_values("vae decodings", ascending=False).head(_MOST)
    space = quality.loc[quality["feature_space"].fillna("") != "", "feature_space"].iloc[0]
    in_space = quality[quality["feature_space"] == space]
    figure = Figure(figsize=(WIDTH_IN, max(2.4, 0.9 + 0.26 * len(r2))), layout="constrained")
    left, *others = figure.subplots(1, 4, width_ratios=[2.4, 1.2, 1, 1])
    y = np.arange(len(r2))
    left.barh(y - 0.2, r2["generated"], height=0.38, color=FROM_IMAGE, label="generated images")
    left.barh(y + 0.2, r2["vae decodings"], height=0.38, color=LIGHT_GREY, label="VAE decodings")
    left.set_yticks(y, [f"$z_{{{latent:.0f}}}$" for latent in r2.index])
    left.invert_yaxis()
    left.set_xlim(min(0, r2.min().min()), 1)
    left.grid(axis="y", visible=False)
    left.set_xlabel("read-back R²")
    panels = (("precision", "recall"), ("frechet_distance",), ("kernel_distance",))
    titles = ("overlap", "Fréchet distance", "kernel distance")
    for axis, measures, title in zip(others, panels, titles, strict=True):
        x = np.arange(len(measures))
        for offset, of, colour in ((-0.2, "generated", FROM_IMAGE), (0.2, "training images", GREY)):
            rows = in_space[in_space["of"] == of].set_index("measure")["value"]
            axis.bar(x + offset, rows[list(measures)], width=0.38, color=colour, label=of)
        axis.set_xticks(x, measures if len(measures) > 1 else [""])
        axis.set_title(title, fontsize=8)
        axis.grid(axis="x", visible=False)
    others[0].set_ylim(0, 1)
    handles = [*left.get_legend_handles_labels()[0], others[0].containers[1]]
    figure.legend(handles, ["generated images", "VAE decodings", "training images"],
                  loc="outside lower center", ncols=3)  # fmt: skip
    n = in_space["n"].iloc[0]
    figure.suptitle(f"Distances to {n} test images, in the space of {_NAMES.get(space, space)}", fontsize=9)
    return figure


@styled
def nearest_images(
    generated: UInt8[np.ndarray, "n c h w"],
    nearest: UInt8[np.ndarray, "n c h w"],
    mse: Float[np.ndarray, " n"],
) -> Figure:
    """Generated images (top) and the training image nearest to each, with their mean squared error."""
    n = len(generated)
    figure = Figure(
        figsize=(WIDTH_IN, (WIDTH_IN - 0.2) / n * 2 * aspect(generated) + 0.25), layout="constrained"
    )
    axes = figure.subplots(2, n, squeeze=False)
    for column, image, other, error in zip(axes.T, generated, nearest, mse, strict=True):
        show(column[0], image)
        show(column[1], other)
        column[1].set_xlabel(f"MSE {error:.4f}")
    axes[0, 0].set_ylabel("Generated")
    axes[1, 0].set_ylabel("Nearest")
    return figure
