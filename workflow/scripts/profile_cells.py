"""Phenotype profiles of wells and treatments, and how well they tell modes of action."""

from pathlib import Path

import numpy as np
import pandas as pd

from covary import images, vae
from covary.jobs.run import run
from covary.phenotypes import baselines
from covary.phenotypes.not_same_compound import confusion, nearest_modes
from covary.phenotypes.profiles import cell_table, normalised, treatment_profiles, well_profiles
from covary.phenotypes.table import accuracies, precisions


def profile_cells(
    index: Path, encodings: Path, weights: Path, wells: Path, treatments: Path, accuracy: Path,
    precision: Path, confusions: Path, resamples: int, seed: int,
) -> None:  # fmt: skip
    """Write the profiles from the posterior means of the VAE, and the tables of these and of baselines."""
    prepared = images.load(index.parent)
    pixels = {"train": prepared.train, "test": prepared.test}
    stored, network = np.load(encodings), vae.VAE.load(weights.parent)
    features = {
        "latents": {split: stored[f"{split}_mean"] for split in pixels},
        "random weights": baselines.random_network(pixels, network, seed),
        "pixel PCA": baselines.pixel_components(pixels, seed),
        "mean intensity": baselines.mean_intensities(pixels),
    }
    of_wells = {name: well_profiles(cell_table(prepared.index, of)) for name, of in features.items()}
    found = {name: accuracies(of, seed=seed, resamples=resamples) for name, of in of_wells.items()}
    pd.concat(found, names=["features"]).reset_index("features").to_csv(accuracy, index=False)
    found = {name: precisions(of, seed=seed) for name, of in of_wells.items()}
    pd.concat(found, names=["features"]).reset_index("features").to_csv(precision, index=False)
    latents = next(iter(of_wells.values()))
    latents.to_parquet(wells, index=False)
    treatment_profiles(latents).to_parquet(treatments, index=False)
    confusion(nearest_modes(treatment_profiles(normalised(latents)))).to_csv(confusions)


if __name__ == "__main__":
    run(profile_cells)
