"""Evidence and errors of predictions against the number of training subjects and of visits."""

from pathlib import Path

import pandas as pd

from covary import figures
from covary.jobs.run import run


def plot_ladder(table: Path, predictions: Path, figure: Path) -> None:
    """Draw the figure from its tables."""
    figures.save(figures.deep_ladder(pd.read_csv(table), pd.read_csv(predictions)), figure)


if __name__ == "__main__":
    run(plot_ladder)
