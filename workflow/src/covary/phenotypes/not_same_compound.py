"""The mode of action of the nearest profile of another compound (Ando et al. 2017; Lafarge et al. 2019)."""

from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from covary import rng
from covary.phenotypes.profiles import CONTROL, features_of

Metric = Literal["euclidean", "cosine"]


def distances(
    features: Float[np.ndarray, "profile feature"], metric: Metric
) -> Float[np.ndarray, "profile profile"]:
    """Euclidean distances, or 1 - cosine; the cosine with a profile of zeros counts as 0."""
    if metric == "cosine":
        length = np.linalg.norm(features, axis=1, keepdims=True)
        unit = np.divide(features, length, out=np.zeros_like(features), where=length > 0)
        return 1 - unit @ unit.T
    return np.linalg.norm(features[:, None] - features[None], axis=2)


def nearest_modes(
    profiles: pd.DataFrame,
    metric: Metric = "cosine",
    *,
    other_batch: bool = False,
    with_control: bool = False,
) -> pd.DataFrame:
    """The mode of action that each treatment has by its nearest neighbour of another compound.

    With `other_batch` a neighbour must not share a batch with the treatment either; modes of action whose
    compounds all share one batch are then left out. Without `with_control` DMSO is neither classified nor a
    neighbour; with it, it can never be right, since no other compound has its mode.

    Returns the columns Metadata_Compound, Metadata_Concentration, Metadata_moa, predicted and right.
    """
    kept = profiles if with_control else profiles[profiles["Metadata_Compound"] != CONTROL]
    batches = [set(batch.split("|")) for batch in kept["Metadata_Batch"]]
    if other_batch:
        joined = kept.groupby("Metadata_moa")["Metadata_Batch"].agg("|".join)
        of_mode = joined.map(lambda batches: len(set(batches.split("|"))))
        fine = kept["Metadata_moa"].map(of_mode).to_numpy() > 1
        kept = kept[fine]
        batches = [batch for batch, ok in zip(batches, fine, strict=True) if ok]
    columns = ["Metadata_Compound", "Metadata_Concentration", "Metadata_moa"]
    if kept.empty:
        return kept[columns].assign(predicted="", right=False)
    compound = kept["Metadata_Compound"].to_numpy(object)
    forbidden: Bool[np.ndarray, "profile profile"] = compound[:, None] == compound[None]
    if other_batch:
        forbidden = forbidden | np.array([[bool(a & b) for b in batches] for a in batches])
    away = distances(kept[features_of(kept)].to_numpy(float), metric)
    away = np.where(forbidden, np.inf, away)
    mode = kept["Metadata_moa"].to_numpy(object)
    found = np.where(np.isfinite(away).any(axis=1), mode[away.argmin(axis=1)], "")
    return kept[columns].assign(predicted=found, right=found == mode).reset_index(drop=True)


def accuracy(right: Float[np.ndarray, "draw treatment"], seed: int, resamples: int) -> dict[str, int | float]:
    """Share of treatments whose mode is right, with a 95 % bootstrap interval.

    Draws are those of what is random in the features, for instance of a network's weights. The share is their
    mean; draws are resampled as treatments are. NaN if no treatment could be classified, for instance because
    all compounds of each mode share one batch.
    """
    treatments = right.shape[1]
    if not treatments:
        return {"treatments": 0, "accuracy": np.nan, "low": np.nan, "high": np.nan}
    low, high = interval(right, rng.generator(seed, "phenotypes/accuracy"), resamples)
    return {"treatments": treatments, "accuracy": float(right.mean()), "low": low, "high": high}


def interval(
    value: Float[np.ndarray, "draw treatment"], random: np.random.Generator, resamples: int
) -> tuple[float, float]:
    """95 % bootstrap interval of the mean, over treatments and over draws."""
    drawn = random.integers(0, value.shape[1], (resamples, value.shape[1]))
    means = value[:, drawn].mean(axis=2)  # of each draw
    if len(means) > 1:
        chosen = random.integers(0, len(means), means.T.shape)
        means = np.take_along_axis(means, chosen.T, axis=0)
    low, high = np.percentile(means.mean(axis=0), [2.5, 97.5])
    return float(low), float(high)


def confusion(classified: pd.DataFrame) -> pd.DataFrame:
    """Treatments of each mode of action (rows) by the mode they were taken for (columns)."""
    modes = sorted(set(classified["Metadata_moa"]))
    counts = pd.crosstab(classified["Metadata_moa"], classified["predicted"])
    return counts.reindex(index=modes, columns=modes, fill_value=0)
