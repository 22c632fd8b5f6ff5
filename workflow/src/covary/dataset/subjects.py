"""Synthetic subjects: a latent vector each, its random effects, and the split they belong to."""

import numpy as np
import xarray as xr
from jaxtyping import Float32

from covary.config.dataset import Subjects
from covary.config.sites import Sites
from covary.dataset.latents import Latents
from covary.dataset.sites import label_sites

SPLITS = ("train", "validation", "test", "test_unseen")  # the last one exists where there are sites


def latent_vectors(
    latents: Latents, seed: int, start: int, stop: int
) -> Float32[np.ndarray, "subject latent"]:
    """z of the subjects `start … stop - 1`, each from its own random stream."""
    return latents.draw(seed, "z", start, stop).astype(np.float32)


def sample(latents: Latents, subjects: Subjects, sites: Sites | None = None, *, seed: int) -> xr.Dataset:
    """Draw z for every subject and take the chosen latents as random effects eta, which are N(0, I).

    Returns z (subject, latent), eta (subject, random_effect) and split (subject); with `sites`, also the site
    of every subject and what is true of each site (`dataset.sites.label_sites`).
    Every subject draws from its own stream, so the first n subjects of a larger dataset are the same.
    """
    chosen = latents.random_effects
    sizes = [subjects.train, subjects.validation, subjects.test]
    sizes += [sites.unseen_subjects] if sites else []
    z = latent_vectors(latents, seed, 0, sum(sizes))
    split = np.repeat(np.arange(len(sizes), dtype=np.uint8), sizes)
    sampled = xr.Dataset(
        {
            "z": (
                ("subject", "latent"),
                z,
                {"long_name": "latent vector", "units": "1", "comment": latents.in_words},
            ),
            "eta": (
                ("subject", "random_effect"),
                z[:, chosen],
                {"long_name": "random effects read off z", "units": "1", "latents": chosen.tolist()},
            ),
            "split": (
                "subject",
                split,
                {
                    "long_name": "split",
                    "units": "1",
                    "flag_values": list(range(len(sizes))),
                    "flag_meanings": " ".join(SPLITS[: len(sizes)]),
                },
            ),
        }
    )
    if sites:
        sampled = sampled.merge(label_sites(sites, len(chosen), subjects.total, sum(sizes), seed=seed))
    return sampled


def splits_of(dataset: xr.Dataset) -> list[str]:
    """The splits that have subjects."""
    return [SPLITS[i] for i in np.unique(dataset["split"].values)]


def members(dataset: xr.Dataset, split: str) -> slice:
    """The range of subjects in a split; splits are contiguous. Raises ValueError if it is not there."""
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    rows = np.flatnonzero(dataset["split"].values == SPLITS.index(split))
    if not len(rows):
        raise ValueError(f"the dataset has no subjects in the split {split!r}")
    return slice(int(rows[0]), int(rows[-1]) + 1)
