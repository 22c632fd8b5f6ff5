"""What methods find at seen and at unseen sites, and the same subjects at every site."""

from pathlib import Path

import numpy as np
import pandas as pd

from covary import figures, store
from covary.dataset import names
from covary.jobs.run import run

N_SUBJECTS = 3


def plot_sites(dataset: Path, sites: Path, images: Path, figure: Path, at_sites: Path) -> None:
    """Draw both figures."""
    figures.save(figures.sites(pd.read_csv(sites)), figure)
    seen = int(store.read(dataset, names.SUBJECTS)["site"].attrs["seen"])
    with np.load(images) as arrays:
        drawn, scanned = arrays["drawn"][:N_SUBJECTS], arrays["at_sites"][:, :N_SUBJECTS]
    channels = store.read(dataset, names.IMAGES)["channel"].values.tolist()
    pictures = (figures.in_colours(of, channels) for of in (drawn, scanned))
    figures.save(figures.at_sites(*pictures, seen), at_sites)


if __name__ == "__main__":
    run(plot_sites)
