"""Draw single cells under 104 treatments in the layout of BBBC021."""

from pathlib import Path

from covary.config.images import DrawnCells
from covary.jobs.run import run
from covary.phantom.cells.dataset import write_cells


def draw_cells(metadata: Path, drawn: DrawnCells, seed: int, threads: int) -> None:
    """Draw the cells beside the table that lists them."""
    write_cells(metadata.parent, drawn, seed=seed, workers=threads)


if __name__ == "__main__":
    run(draw_cells)
