"""What figures of phenotypes show: centre cells, paths between them, correlations of modes with latents."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int, UInt8

from covary.phenotypes.profiles import CONTROL, TREATMENT, features_of, treatment_profiles, well_profiles


def cell_images(
    index: pd.DataFrame, images: Mapping[str, UInt8[np.ndarray, "_ c h w"]], cells: Int[np.ndarray, " cell"]
) -> UInt8[np.ndarray, "cell c h w"]:
    """Images of some cells, by their numbers in the `cell_table` of the same index."""
    used = index[index["row"].notna()].sort_values("split", kind="stable")
    places = used[["split", "row"]].iloc[cells].itertuples(index=False)
    return np.stack([images[split][int(row)] for split, row in places])


def centre_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """The cell of each treatment that is nearest to its profile (Euclidean), as a row of `cells`.

    `cells` is a `cell_table`. Returns one row per treatment: Metadata_Compound, Metadata_Concentration,
    Metadata_moa, distance and cell (number of the row).
    """
    names = features_of(cells)
    profiles = treatment_profiles(well_profiles(cells))
    own = cells[TREATMENT].merge(profiles[[*TREATMENT, *names]], on=TREATMENT, how="left")
    away = np.linalg.norm(cells[names].to_numpy(float) - own[names].to_numpy(float), axis=1)
    nearest = cells[TREATMENT].assign(distance=away, cell=np.arange(len(cells)))
    nearest = nearest.loc[nearest.groupby(TREATMENT)["distance"].idxmin()]
    return profiles[[*TREATMENT, "Metadata_moa"]].merge(nearest, on=TREATMENT)


def one_treatment_per_mode(centres: pd.DataFrame) -> pd.DataFrame:
    """The centre cell of each mode of action but the control: highest dose of its first compound."""
    treated = centres[centres["Metadata_Compound"] != CONTROL]
    order = treated.sort_values(["Metadata_moa", *TREATMENT], ascending=[True, True, False])
    return order.groupby("Metadata_moa", sort=True).first().reset_index()


def path(
    start: Float[np.ndarray, " latent"], end: Float[np.ndarray, " latent"], points: int = 8
) -> Float64[np.ndarray, "point latent"]:
    """Points on the straight line from `start` to `end`, both included."""
    return start + np.linspace(0, 1, points)[:, None] * (end - start)


def cosine(a: Float[np.ndarray, " latent"], b: Float[np.ndarray, " latent"]) -> float:
    """Cosine of the angle between two vectors."""
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def mode_correlations(cells: pd.DataFrame) -> pd.DataFrame:
    """|Pearson correlation| of each mode of action (0 or 1) with each latent over cells.

    Rows are modes; latents are sorted by falling sum over modes (paper 003, section 4.3). A latent that does
    not vary has 0.
    """
    names = features_of(cells)
    z = cells[names].to_numpy(float)
    z = (z - z.mean(axis=0)) / np.where(z.std(axis=0) > 0, z.std(axis=0), 1)
    modes = sorted(cells["Metadata_moa"].unique())
    member = np.stack([(cells["Metadata_moa"] == mode).to_numpy(float) for mode in modes])
    member = (member - member.mean(axis=1, keepdims=True)) / member.std(axis=1, keepdims=True)
    found = pd.DataFrame(np.abs(member @ z) / len(cells), index=modes, columns=names)
    return found[found.sum().sort_values(ascending=False, kind="stable").index]
