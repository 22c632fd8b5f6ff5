"""The quality of generated images, their nearest training images, and the closest pairs."""

from pathlib import Path

import numpy as np
import pandas as pd

from covary import figures
from covary.jobs.run import run


def plot_quality(
    table: Path,
    neighbours: Path,
    pairs: Path,
    generator_quality: Path,
    nearest_images: Path,
    closest_pairs: Path,
) -> None:
    """Draw the three figures from what was measured."""
    figures.save(figures.generator_quality(pd.read_csv(table)), generator_quality)
    with np.load(neighbours) as near:
        nearest = figures.nearest_images(near["generated"], near["nearest"], near["mse"])
    figures.save(nearest, nearest_images)
    with np.load(pairs) as closest:
        figures.save(figures.closest_pairs(*figures.pairs_of(closest)), closest_pairs)


if __name__ == "__main__":
    run(plot_quality)
