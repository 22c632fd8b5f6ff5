"""A folder of PNG images and Parquet tables."""

from pathlib import Path

import numpy as np
import pandas as pd

from covary.dataset import names
from covary.dataset.subjects import SPLITS
from covary.export.source import Source


def write_png(source: Source, target: Path) -> None:
    """Write `images/<split>/<subject>.png` (`.tif` unless there are one or three channels),
    `subjects.parquet`, `random_effects.parquet`, `records.parquet`.

    `subjects` has subject, split, image (path) and eta_1 …; `random_effects` one row per subject and noise
    variance with eta_hat_1 … and eta_approx_1 …; `records` one row per observation: subject, noise_variance,
    time_h, observation.
    """
    source.write_images(target)
    subjects_table(source).to_parquet(target / "subjects.parquet", index=False)
    effects, records = [], []
    for scenario in source.scenarios:
        record = source.tree[names.records(scenario.name)]
        estimate = source.tree[names.estimates(scenario.name)]
        n, n_times = record["observation"].shape
        columns = {"subject": np.arange(n), "noise_variance": scenario.noise_variance}
        for name, values in (("eta_hat", record["eta_hat"]), ("eta_approx", estimate["eta_approx"])):
            columns |= {f"{name}_{i + 1}": column for i, column in enumerate(values.values.T)}
        effects.append(pd.DataFrame(columns))
        records.append(
            pd.DataFrame(
                {
                    "subject": np.repeat(np.arange(n), n_times),
                    "noise_variance": scenario.noise_variance,
                    "time_h": np.tile(record["time"].values, n),
                    "observation": record["observation"].values.ravel(),
                }
            )
        )
    pd.concat(effects).to_parquet(target / "random_effects.parquet", index=False)
    # A visit that is missing has no row.
    pd.concat(records).dropna(subset="observation").to_parquet(target / "records.parquet", index=False)


def subjects_table(source: Source) -> pd.DataFrame:
    """One row per subject: subject, split, image (path), eta_1 …."""
    split = np.array(SPLITS)[source.tree["subjects/split"].values]
    table = pd.DataFrame({"subject": np.arange(len(split)), "split": split})
    table["image"] = [source.image_path(s, i) for i, s in enumerate(split)]
    for name, column in zip(source.random_effects, source.tree["subjects/eta"].values.T, strict=True):
        table[name] = column
    return table
