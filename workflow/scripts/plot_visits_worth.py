"""Forecasts against the number of first visits, with and without the image."""

from pathlib import Path

import pandas as pd

from covary import figures
from covary.jobs.run import run


def plot_visits_worth(levels: list[Path], table: Path, figure: Path) -> None:
    """Write the table of all levels, and draw its figure."""
    worth = pd.concat([pd.read_csv(level) for level in levels], ignore_index=True)
    worth.to_csv(table, index=False)
    figures.save(figures.visits_worth(worth), figure)


if __name__ == "__main__":
    run(plot_visits_worth)
