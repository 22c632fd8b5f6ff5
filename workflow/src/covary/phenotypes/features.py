"""Profiles of wells from each kind of features: latents of families, and features that need no training."""

from collections.abc import Mapping

import pandas as pd

from covary.images import PreparedImages
from covary.phenotypes import baselines
from covary.phenotypes.orientations import averaged
from covary.phenotypes.profiles import cell_table, well_profiles
from covary.vae import VAE


def profiles_of_wells(
    prepared: PreparedImages, networks: Mapping[str, VAE], orientations: int, seed: int
) -> dict[str, dict[int, pd.DataFrame]]:
    """Profiles of wells by kind of features, and by the number of orientations of each cell: 1 and
    `orientations`.

    Kinds are the families, the keys of `networks`, and `random weights` (with the architecture of the first
    network), `pixel PCA`, `shapes`, `mean intensity` and `cell count`. The last three do not depend on the
    orientation.
    """
    images = {"train": prepared.train, "test": prepared.test}
    turning = {family: baselines.latents(network) for family, network in networks.items()} | {
        "random weights": baselines.random_network(next(iter(networks.values())), seed),
        "pixel PCA": baselines.pixel_components(prepared.train, seed, orientations),
    }
    features = {name: averaged(of, images, orientations) for name, of in turning.items()}
    for name, of in (("shapes", baselines.shapes), ("mean intensity", baselines.mean_intensities)):
        features[name] = dict.fromkeys((1, orientations), averaged(of, images, 1)[1])
    wells = {
        name: {n: well_profiles(cell_table(prepared.index, of)) for n, of in by_orientations.items()}
        for name, by_orientations in features.items()
    }
    counts = baselines.cell_counts(next(iter(wells.values()))[1])
    return wells | {"cell count": dict.fromkeys((1, orientations), counts)}
