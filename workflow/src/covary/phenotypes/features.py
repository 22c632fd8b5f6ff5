"""Profiles of wells from each kind of features: latents of families, and features that need no training."""

from collections.abc import Mapping
from itertools import chain

import pandas as pd

from covary.images import PreparedImages
from covary.phenotypes import baselines
from covary.phenotypes.orientations import averaged
from covary.phenotypes.profiles import cell_table, well_profiles
from covary.vae import VAE

_RANDOM_NETWORKS = 6  # their accuracies differ by 0.2

# Profiles of wells by the number of orientations of each cell; one entry per draw of what is random in them.
Draws = list[dict[int, pd.DataFrame]]


def profiles_of_wells(
    prepared: PreparedImages, networks: Mapping[str, VAE], orientations: int, seed: int
) -> dict[str, Draws]:
    """Profiles of wells by kind of features, and by the number of orientations of each cell: 1 and
    `orientations`.

    Kinds are the families, the keys of `networks`, and `random weights` (six networks with the architecture
    of the first one), `pixel PCA`, `shapes`, `mean intensity` and `cell count`. The last three do not depend
    on the orientation.
    """
    images = {"train": prepared.train, "test": prepared.test}
    first = next(iter(networks.values()))
    turning = {family: [baselines.latents(network)] for family, network in networks.items()} | {
        "random weights": [baselines.random_network(first, seed, draw) for draw in range(_RANDOM_NETWORKS)],
        "pixel PCA": [baselines.pixel_components(prepared.train, seed, orientations)],
    }
    features = {name: [averaged(of, images, orientations) for of in draws] for name, draws in turning.items()}
    for name, of in (("shapes", baselines.shapes), ("mean intensity", baselines.mean_intensities)):
        features[name] = [dict.fromkeys((1, orientations), averaged(of, images, 1)[1])]
    wells = {
        name: [{n: well_profiles(cell_table(prepared.index, of)) for n, of in draw.items()} for draw in draws]
        for name, draws in features.items()
    }
    counts = baselines.cell_counts(next(chain.from_iterable(wells.values()))[1])
    return wells | {"cell count": [dict.fromkeys((1, orientations), counts)]}
