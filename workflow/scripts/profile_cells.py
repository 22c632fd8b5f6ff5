"""Phenotype profiles of wells and treatments, and how well they tell modes of action."""

from pathlib import Path

import pandas as pd

from covary import images
from covary.config.phenotypes import Phenotypes
from covary.config.vae import Family, Vae
from covary.jobs.run import run
from covary.phenotypes.comparison import with_published
from covary.phenotypes.families import family_row
from covary.phenotypes.features import profiles_of_wells
from covary.phenotypes.not_same_compound import confusion, nearest_modes
from covary.phenotypes.profiles import normalised, sphered, treatment_profiles
from covary.phenotypes.table import accuracies, gains, precisions
from covary.vae import VAE


def profile_cells(
    index: Path, weights: list[Path], histories: list[Path], wells: Path, treatments: Path, accuracy: Path,
    precision: Path, gain: Path, confusions: Path, families: Path, trained: dict[Family, Vae],
    settings: Phenotypes, resamples: int, seed: int,
) -> None:  # fmt: skip
    """Write the profiles of the first family, and the tables of all families and of baselines."""
    prepared = images.load(index.parent)
    networks = {family: VAE.load(file.parent) for family, file in zip(trained, weights, strict=True)}
    of_wells = profiles_of_wells(prepared, networks, settings.orientations, seed)
    found = {name: accuracies(of, seed=seed, resamples=resamples) for name, of in of_wells.items()}
    pd.concat(found, names=["features"]).reset_index("features").to_csv(accuracy, index=False)
    main = {name: [of[settings.orientations] for of in draws] for name, draws in of_wells.items()}
    ranked = {name: precisions(of, seed=seed) for name, of in main.items()}
    pd.concat(ranked, names=["features"]).reset_index("features").to_csv(precision, index=False)
    gains(main, list(trained), seed=seed, resamples=resamples).to_csv(gain, index=False)
    rows = [
        family_row(network, trained[family], pd.read_csv(history), found[family],
                   draws=settings.readback_draws, seed=seed)
        for (family, network), history in zip(networks.items(), histories, strict=True)
    ]  # fmt: skip
    with_published(rows).to_csv(families, index=False)
    (latents,) = main[next(iter(trained))]  # of the family of the association
    latents.to_parquet(wells, index=False)
    treatment_profiles(latents).to_parquet(treatments, index=False)
    confusion(nearest_modes(treatment_profiles(sphered(normalised(latents))))).to_csv(confusions)


if __name__ == "__main__":
    run(profile_cells)
