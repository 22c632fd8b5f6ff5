"""How much association is found where the estimator knows one structural model or another."""

from pathlib import Path

import pandas as pd

from covary import figures
from covary.jobs.run import run


def plot_estimators(table: Path, figure: Path) -> None:
    """Draw the figure from its table."""
    figures.save(figures.deep_association(pd.read_csv(table)), figure)


if __name__ == "__main__":
    run(plot_estimators)
