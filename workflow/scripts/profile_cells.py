"""Phenotype profiles of wells and treatments, and how well they tell modes of action."""

from pathlib import Path

import pandas as pd

from covary import images
from covary.config.vae import Family, Vae
from covary.jobs.run import run
from covary.phenotypes import baselines
from covary.phenotypes.comparison import with_published
from covary.phenotypes.families import family_row
from covary.phenotypes.not_same_compound import confusion, nearest_modes
from covary.phenotypes.profiles import cell_table, normalised, sphered, treatment_profiles, well_profiles
from covary.phenotypes.table import accuracies, precisions
from covary.vae import VAE, encode


def profile_cells(
    index: Path, weights: list[Path], histories: list[Path], wells: Path, treatments: Path, accuracy: Path,
    precision: Path, confusions: Path, families: Path, trained: list[Family], vae: Vae, readback_draws: int,
    resamples: int, seed: int,
) -> None:  # fmt: skip
    """Write the profiles of the first family, and the tables of all families and of baselines."""
    prepared = images.load(index.parent)
    pixels = {"train": prepared.train, "test": prepared.test}
    networks = {family: VAE.load(file.parent) for family, file in zip(trained, weights, strict=True)}
    features = {
        family: {split: encode(network, of)[0].astype(float) for split, of in pixels.items()}
        for family, network in networks.items()
    } | {
        "random weights": baselines.random_network(pixels, networks[trained[0]], seed),
        "pixel PCA": baselines.pixel_components(pixels, seed),
        "shapes": baselines.shapes(pixels),
        "mean intensity": baselines.mean_intensities(pixels),
    }
    of_wells = {name: well_profiles(cell_table(prepared.index, of)) for name, of in features.items()}
    of_wells["cell count"] = baselines.cell_counts(of_wells[trained[0]])
    found = {name: accuracies(of, seed=seed, resamples=resamples) for name, of in of_wells.items()}
    pd.concat(found, names=["features"]).reset_index("features").to_csv(accuracy, index=False)
    ranked = {name: precisions(of, seed=seed) for name, of in of_wells.items()}
    pd.concat(ranked, names=["features"]).reset_index("features").to_csv(precision, index=False)
    rows = [
        family_row(network, vae.of_family(family), pd.read_csv(history), found[family],
                   draws=readback_draws, seed=seed)
        for (family, network), history in zip(networks.items(), histories, strict=True)
    ]  # fmt: skip
    with_published(rows).to_csv(families, index=False)
    latents = of_wells[trained[0]]
    latents.to_parquet(wells, index=False)
    treatment_profiles(latents).to_parquet(treatments, index=False)
    confusion(nearest_modes(treatment_profiles(sphered(normalised(latents))))).to_csv(confusions)


if __name__ == "__main__":
    run(profile_cells)
