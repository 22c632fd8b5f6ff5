"""Score the methods for sites: at seen and unseen sites, and how far they follow the scanner."""

from pathlib import Path

import numpy as np

from covary import store
from covary.dataset import names
from covary.evaluate.site_methods import LevelAtSites, site_tables
from covary.jobs.run import run


def measure_sites(
    dataset: Path, predictions: list[Path], trained: list[tuple[float, str, str]], sites: Path,
    comparison: Path, methods: Path, seed: int, resamples: int,
) -> None:  # fmt: skip
    """Write the three tables; `trained` names noise variance, method and site effects of each file."""
    subjects = store.read(dataset, names.SUBJECTS)
    levels: dict[float, LevelAtSites] = {}
    for (noise_variance, name, effects), file in zip(trained, predictions, strict=True):
        if noise_variance not in levels:
            group = names.records(names.noise_scenario(noise_variance))
            eta_hat = store.read(dataset, group)["eta_hat"].values
            levels[noise_variance] = LevelAtSites(noise_variance, subjects, eta_hat)
        with np.load(file) as arrays:
            levels[noise_variance].add(name, effects, dict(arrays))
    tables = site_tables(list(levels.values()), seed=seed, resamples=resamples)
    for table, path in zip(tables, (sites, comparison, methods), strict=True):
        table.to_csv(path, index=False)


if __name__ == "__main__":
    run(measure_sites)
