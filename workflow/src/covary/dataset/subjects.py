"""Synthetic subjects: a latent vector each, its random effects, and the split they belong to."""

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Float32

from covary import rng
from covary.config.dataset import Subjects
from covary.config.sites import Sites
from covary.dataset.sites import label_sites

SPLITS = ("train", "validation", "test", "test_unseen")  # the last one exists where there are sites


def latent_vectors(
    seed: int, start: int, stop: int, open_share: Float[np.ndarray, " latent"]
) -> Float32[np.ndarray, "subject latent"]:
    """z of the subjects `start … stop - 1`, each from its own random stream (`rng.latents`)."""
    return rng.latents(seed, "z", start, stop, open_share).astype(np.float32)


def sample(ranking: pd.DataFrame, subjects: Subjects, sites: Sites | None = None, *, seed: int) -> xr.Dataset:
    """Draw z from the prior for every subject and take the chosen latents as random effects eta.

    Under a spike-and-slab prior, the gates of the chosen latents are open for every subject, so that eta is
    N(0, I) under every prior; the gates of the others are drawn.

    `ranking` has one row per latent, `random_effect` the number of the one it serves as, or -1, and
    `open_share` how often its gate is open.
    Returns z (subject, latent), eta (subject, random_effect) and split (subject); with `sites`, also the site
    of every subject and what is true of each site (`dataset.sites.label_sites`).
    Every subject draws from its own stream, so the first n subjects of a larger dataset are the same.
    Raises ValueError if the random effects in the ranking are not numbered 0 … k - 1.
    """
    chosen = ranking.loc[ranking["random_effect"] >= 0].sort_values("random_effect")
    if list(chosen["random_effect"]) != list(range(len(chosen))) or chosen.empty:
        raise ValueError("latent ranking: random effects must be numbered 0 … k - 1")
    latents = chosen["latent"].to_numpy()
    sizes = [subjects.train, subjects.validation, subjects.test]
    sizes += [sites.unseen_subjects] if sites else []
    z = latent_vectors(seed, 0, sum(sizes), ranking["open_share"].to_numpy(float))
    split = np.repeat(np.arange(len(sizes), dtype=np.uint8), sizes)
    sampled = xr.Dataset(
        {
            "z": (("subject", "latent"), z, {"long_name": "latent vector", "units": "1"}),
            "eta": (
                ("subject", "random_effect"),
                z[:, latents],
                {"long_name": "random effects read off z", "units": "1", "latents": latents.tolist()},
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
        sampled = sampled.merge(label_sites(sites, len(latents), subjects.total, sum(sizes), seed=seed))
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
