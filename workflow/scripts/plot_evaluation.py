"""R² against the explainable fraction, the association ledger, calibration, learning curves and power."""

from pathlib import Path

import pandas as pd

from covary import figures
from covary.jobs.run import run


def plot_evaluation(
    random_effects_table: Path,
    ledger_table: Path,
    calibration_table: Path,
    learning_curve_table: Path,
    power_table: Path,
    r2_against_explainable_fraction: Path,
    headline: Path,
    association_ledger: Path,
    calibration: Path,
    learning_curve: Path,
) -> None:
    """Draw the five figures from their tables."""
    ledger = pd.read_csv(ledger_table)
    figures.save(figures.headline(ledger), headline)
    figures.save(figures.association_ledger(ledger), association_ledger)
    figures.save(figures.calibration(pd.read_csv(calibration_table)), calibration)
    curve = figures.learning_curve(pd.read_csv(learning_curve_table), pd.read_csv(power_table))
    figures.save(curve, learning_curve)
    r2 = figures.r2_against_explainable_fraction(pd.read_csv(random_effects_table))
    figures.save(r2, r2_against_explainable_fraction)


if __name__ == "__main__":
    run(plot_evaluation)
