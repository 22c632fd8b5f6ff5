"""Profiles of wells and treatments, with the column names of pycytominer and copairs."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.covariance import LedoitWolf

from covary.errors import UserError
from covary.images.cells import CONTROL

WELL = ["Metadata_Plate", "Metadata_Well"]
TREATMENT = ["Metadata_Compound", "Metadata_Concentration"]
_OF_WELL = {"plate": "Metadata_Plate", "well": "Metadata_Well", "week": "Metadata_Batch",
            "compound": "Metadata_Compound", "concentration": "Metadata_Concentration",
            "moa": "Metadata_moa"}  # fmt: skip


def features_of(profiles: pd.DataFrame) -> list[str]:
    """Names of the columns that are no metadata."""
    return [name for name in profiles if not name.startswith("Metadata_")]


def cell_table(
    index: pd.DataFrame, features: Mapping[str, Float[np.ndarray, "image feature"]], name: str = "latent"
) -> pd.DataFrame:
    """One row per cell that could be used: what was done to it, and its features `latent_000` ….

    `index` is that of prepared cells; `features` has those of the train and the test images.
    """
    used = index[index["row"].notna()]
    kinds = dict.fromkeys(_OF_WELL.values(), str) | {"Metadata_Concentration": float}
    parts = []
    for split, rows in used.groupby("split", sort=True):
        values = np.asarray(features[split])[rows["row"].astype(int)]
        columns = [f"{name}_{i:03d}" for i in range(values.shape[1])]
        metadata = rows[list(_OF_WELL)].rename(columns=_OF_WELL).reset_index(drop=True).astype(kinds)
        parts.append(pd.concat([metadata, pd.DataFrame(values, columns=columns)], axis=1))
    return pd.concat(parts, ignore_index=True)


def well_profiles(cells: pd.DataFrame) -> pd.DataFrame:
    """Mean of the features over the cells of each well, with Metadata_Count_Cells."""
    metadata = list(_OF_WELL.values())
    grouped = cells.groupby(metadata, sort=True)
    wells = grouped[features_of(cells)].mean().reset_index()
    wells.insert(len(metadata), "Metadata_Count_Cells", grouped.size().to_numpy())
    return wells


def treatment_profiles(wells: pd.DataFrame) -> pd.DataFrame:
    """Median over the wells of each treatment (paper 003, section 4.4), with Metadata_Count_Wells.

    Metadata_Batch names all batches of a treatment, joined by |.
    """
    grouped = wells.groupby([*TREATMENT, "Metadata_moa"], sort=True)
    profiles = grouped[features_of(wells)].median()
    batches = grouped["Metadata_Batch"].agg(lambda batch: "|".join(sorted(set(batch))))
    profiles.insert(0, "Metadata_Batch", batches)
    profiles.insert(1, "Metadata_Count_Wells", grouped.size())
    return profiles.reset_index()


def normalised(wells: pd.DataFrame) -> pd.DataFrame:
    """Features in standard deviations of control wells around the mean of those of the plate.

    The standard deviation is that of all control wells around the means of their plates, since a plate has
    few. Raises UserError that names a plate without a control well.
    """
    names = features_of(wells)
    is_control = wells["Metadata_Compound"] == CONTROL
    means = wells[is_control].groupby("Metadata_Plate")[names].mean()
    if without := sorted(set(wells["Metadata_Plate"]) - set(means.index)):
        raise UserError(f"metadata.csv: plate {without[0]} has no well with {CONTROL}; expected one or more")
    centred = wells[names] - means.loc[wells["Metadata_Plate"]].to_numpy()
    freedom = max(int(is_control.sum()) - len(means), 1)
    sd = np.sqrt(centred[is_control].pow(2).sum() / freedom)
    return _with(centred / sd.where(sd > 0, 1.0), wells)


def sphered(wells: pd.DataFrame) -> pd.DataFrame:
    """Features of `normalised` wells, turned and scaled so that they are uncorrelated over control wells.

    What varies between untreated wells counts less (Ando et al. 2017, doi:10.1101/161422). The covariance of
    the few control wells is shrunk towards a multiple of the identity (Ledoit and Wolf 2004).
    """
    names = features_of(wells)
    controls = wells.loc[wells["Metadata_Compound"] == CONTROL, names].to_numpy(float)
    values, vectors = np.linalg.eigh(LedoitWolf(assume_centered=True).fit(controls).covariance_)
    whitening = vectors / np.sqrt(values.clip(min=1e-12)) @ vectors.T
    whitened = wells[names].to_numpy(float) @ whitening
    return _with(pd.DataFrame(whitened, columns=names, index=wells.index), wells)


def _with(features: pd.DataFrame, wells: pd.DataFrame) -> pd.DataFrame:
    """The wells with other values of their features."""
    return pd.concat([wells.drop(columns=features.columns), features], axis=1)
