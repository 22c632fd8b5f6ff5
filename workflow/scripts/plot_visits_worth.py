"""Forecasts against the number of first visits, with and without the image."""

from pathlib import Path

import pandas as pd

from covary import figures
from covary.jobs.run import run


def plot_visits_worth(table: Path, figure: Path) -> None:
    """Draw the figure from its table."""
    figures.save(figures.visits_worth(pd.read_csv(table)), figure)


if __name__ == "__main__":
    run(plot_visits_worth)
