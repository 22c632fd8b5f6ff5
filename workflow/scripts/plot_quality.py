"""The quality of generated images, their nearest training images, and the closest pairs."""

from pathlib import Path

import numpy as np
import pandas as pd

from covary import figures, images
from covary.jobs.run import run


def plot_quality(
    index: Path,
    table: Path,
    neighbours: Path,
    pairs: Path,
    generator_quality: Path,
    nearest_images: Path,
    closest_pairs: Path,
) -> None:
    """Draw the three figures from what was measured."""
    channels = images.load(index.parent).channels
    figures.save(figures.generator_quality(pd.read_csv(table)), generator_quality)
    with np.load(neighbours) as near:
        shown = (figures.in_colours(near[of], channels) for of in ("generated", "nearest"))
        nearest = figures.nearest_images(*shown, near["mse"])
    figures.save(nearest, nearest_images)
    with np.load(pairs) as closest:
        figures.save(figures.closest_pairs(*figures.pairs_of(closest, channels)), closest_pairs)


if __name__ == "__main__":
    run(plot_quality)
