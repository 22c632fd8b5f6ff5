"""Ranks of the truth, coverage and sharpness of posteriors, all noise levels in one table."""

from pathlib import Path

import pandas as pd

from covary import figures
from covary.jobs.run import run


def plot_posterior_checks(
    noise_variances: list[float],
    checks: list[Path],
    ranks: list[Path],
    table: Path,
    posterior_ranks: Path,
    posterior_coverage: Path,
) -> None:
    """Write the table and draw both figures."""
    checked, counts = (
        pd.concat(dict(zip(noise_variances, map(pd.read_csv, files), strict=True)), names=["noise_variance"])
        .reset_index(level="noise_variance")
        .reset_index(drop=True)
        for files in (checks, ranks)
    )
    checked.to_csv(table, index=False)
    figures.save(figures.posterior_ranks(counts), posterior_ranks)
    figures.save(figures.posterior_coverage(checked), posterior_coverage)


if __name__ == "__main__":
    run(plot_posterior_checks)
