"""Train the network that reads the known factors of phantoms from images."""

from pathlib import Path

import pandas as pd

from covary import images, quality
from covary.jobs.run import run


def train_factor_reader(index: Path, factors: Path, reader: Path, seed: int) -> None:
    """Train on the training images, and note how well each factor is read from test images."""
    prepared = images.load(index.parent)
    known = pd.read_parquet(factors).drop(columns=["split", "class", "patient"])
    rows = pd.read_parquet(index).query("status == 'ok'").merge(known, on="file", validate="one_to_one")
    of = {split: rows[rows["split"] == split].sort_values("row") for split in ("train", "test")}
    trained = quality.train_factor_reader(prepared.train, of["train"], seed)
    quality.write_reader(quality.with_skill(trained, prepared.test, of["test"]), reader)


if __name__ == "__main__":
    run(train_factor_reader)
