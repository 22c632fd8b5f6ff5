"""Generated and held-out images, each with the training image closest to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from covary.figures.images import aspect, in_colours, show
from covary.figures.style import WIDTH_IN, styled


@dataclass(frozen=True)
class ClosestPairs:
    """Images and the training image closest to each, the closest pairs first, in one space."""

    space: str
    title: str
    images: UInt8[np.ndarray, "pair c h w"]
    nearest: UInt8[np.ndarray, "pair c h w"]
    distance: Float[np.ndarray, " pair"]


@styled
def closest_pairs(left: Sequence[ClosestPairs], right: Sequence[ClosestPairs]) -> Figure:
    """Pairs of generated images on the left, of held-out images on the right; a block of rows for each space.

    In each block the upper row has the images, and the lower row the training images closest to them.
    Distances are above the pairs.
    """
    n = len(left[0].images)
    side = (WIDTH_IN - 0.7) / (2 * n)
    figure = Figure(
        figsize=(WIDTH_IN, len(left) * (2 * side * aspect(left[0].images) + 0.42) + 0.05),
        layout="constrained",
    )
    blocks = figure.subfigures(len(left), 2, squeeze=False, wspace=0.03)
    for row, pairs in zip(blocks, zip(left, right, strict=True), strict=True):
        for block, side_pairs in zip(row, pairs, strict=True):
            block.suptitle(f"{side_pairs.title}, by {side_pairs.space}", fontsize=9)
            axes = block.subplots(2, n, squeeze=False)
            columns = zip(axes.T, side_pairs.images, side_pairs.nearest, side_pairs.distance, strict=True)
            for (above, below), image, near, distance in columns:
                show(above, image)
                show(below, near)
                above.set_title(f"{distance:.3g}", fontsize=7.5, pad=2)
            axes[0, 0].set_ylabel("image", fontsize=7.5)
            axes[1, 0].set_ylabel("nearest", fontsize=7.5)
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)
    return figure


def pairs_of(
    arrays: Mapping[str, np.ndarray], channels: Sequence[str]
) -> tuple[list[ClosestPairs], list[ClosestPairs]]:
    """Pairs of generated and of held-out images, from the arrays of `quality.privacy.closest_pairs`."""

    def pairs(name: str, title: str) -> list[ClosestPairs]:
        return [
            ClosestPairs(
                str(space),
                title,
                in_colours(arrays[f"{name}_{i}_images"], channels),
                in_colours(arrays[f"{name}_{i}_nearest"], channels),
                arrays[f"{name}_{i}_distance"],
            )
            for i, space in enumerate(arrays["spaces"])
        ]

    return pairs("generated", "Generated"), pairs("held_out", "Held out")
