"""The association ledger, calibration, learning curves and power."""

from pathlib import Path

import pandas as pd

from covary import figures
from covary.jobs.run import run


def plot_evaluation(
    ledger_table: Path,
    calibration_table: Path,
    learning_curve_table: Path,
    power_table: Path,
    headline: Path,
    association_ledger: Path,
    calibration: Path,
    learning_curve: Path,
) -> None:
    """Draw the four figures from their tables."""
    ledger = pd.read_csv(ledger_table)
    figures.save(figures.headline(ledger), headline)
    figures.save(figures.association_ledger(ledger), association_ledger)
    figures.save(figures.calibration(pd.read_csv(calibration_table)), calibration)
    curve = figures.learning_curve(pd.read_csv(learning_curve_table), pd.read_csv(power_table))
    figures.save(curve, learning_curve)


if __name__ == "__main__":
    run(plot_evaluation)
