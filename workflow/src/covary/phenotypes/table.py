"""How well profiles tell modes of action, by each kind of features."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool

from covary import rng
from covary.phenotypes.average_precision import retrieval
from covary.phenotypes.not_same_compound import accuracy, distances, interval, nearest_modes
from covary.phenotypes.profiles import CONTROL, features_of, normalised, sphered, treatment_profiles

NORMALISATIONS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "none": lambda wells: wells,
    "plate": normalised,
    "sphered": lambda wells: sphered(normalised(wells)),
}
_DRAWS = 10_000  # of random orders behind a p-value
_SIGNIFICANT = 0.05


def accuracies(draws: Sequence[Mapping[int, pd.DataFrame]], *, seed: int, resamples: int) -> pd.DataFrame:
    """One row per number of orientations, normalisation, metric and rule of what is no neighbour.

    A draw has the profiles of wells by the number of orientations over which features were averaged. There
    are several where something in the features is random, and accuracies are their means. Columns:
    orientations, normalisation (`none`; `plate`: to DMSO of the plate; `sphered`: that, and sphered), metric,
    neighbour (`other_compound`, NSC, or `other_compound_and_batch`, NSB), with_control (the paper's 104
    treatments), treatments, accuracy, low and high (95 % bootstrap interval over treatments and draws).
    """
    rows = []
    for orientations in draws[0]:
        for normalisation, normalise in NORMALISATIONS.items():
            profiles = [treatment_profiles(normalise(wells[orientations])) for wells in draws]
            for metric in ("euclidean", "cosine"):
                for other_batch, with_control in ((False, False), (False, True), (True, False)):
                    right = [
                        nearest_modes(of, metric, other_batch=other_batch, with_control=with_control)["right"]
                        for of in profiles
                    ]
                    rows.append(
                        {
                            "orientations": orientations,
                            "normalisation": normalisation,
                            "metric": metric,
                            "neighbour": "other_compound_and_batch" if other_batch else "other_compound",
                            "with_control": with_control,
                        }
                        | accuracy(np.array(right, dtype=float), seed, resamples)
                    )
    return pd.DataFrame(rows)


def gains(
    wells: Mapping[str, Sequence[pd.DataFrame]],
    families: Sequence[str],
    *,
    seed: int,
    resamples: int,
) -> pd.DataFrame:
    """How many more treatments each family tells than each kind of features without training.

    `wells` are the profiles by kind of features; several where something in the features is random. Sphered,
    by cosine, neighbours of other compounds, without DMSO. Columns: family, features, gain (difference of the
    shares), low and high (95 % bootstrap interval over treatments, the same ones of both, and draws).
    """
    right = {name: np.array([_right(of) for of in draws], dtype=float) for name, draws in wells.items()}
    rows = []
    for family in families:
        for name in (name for name in right if name not in families):
            gain = right[family].mean(axis=0) - right[name]
            random = rng.generator(seed, f"phenotypes/gain/{family}/{name}")
            low, high = interval(gain, random, resamples)
            rows.append({"family": family, "features": name, "gain": gain.mean(), "low": low, "high": high})
    return pd.DataFrame(rows).sort_values(["family", "gain"], kind="stable", ignore_index=True)


def _right(wells: pd.DataFrame) -> Bool[np.ndarray, " treatment"]:
    return nearest_modes(treatment_profiles(NORMALISATIONS["sphered"](wells)))["right"].to_numpy(bool)


def precisions(draws: Sequence[pd.DataFrame], *, seed: int) -> pd.DataFrame:
    """Mean average precision of activity and consistency, by cosine, on wells normalised to DMSO.

    Values are means over the draws of what is random in the features.
    Activity: wells of one treatment against DMSO wells of their plates. Consistency: treatments of one mode
    and other compounds against those of other modes. Columns: question, mean_average_precision, expected (in
    a random order), significant (share of queries with a q-value below 0.05) and queries.
    """
    found = pd.concat([_precisions(wells, seed) for wells in draws])
    means = found.groupby("question", sort=False).mean().reset_index()
    return means.astype({"queries": int})


def _precisions(wells: pd.DataFrame, seed: int) -> pd.DataFrame:
    of_plate = normalised(wells)
    is_control = (of_plate["Metadata_Compound"] == CONTROL).to_numpy()
    treatment = of_plate["Metadata_Compound"] + "_" + of_plate["Metadata_Concentration"].map("{:g}".format)
    same = treatment.to_numpy(object)[:, None] == treatment.to_numpy(object)
    plate = of_plate["Metadata_Plate"].to_numpy(object)
    controls = (plate[:, None] == plate) & is_control
    np.fill_diagonal(same, val=False)
    away = distances(of_plate[features_of(of_plate)].to_numpy(float), "cosine")
    active = retrieval(away[~is_control], same[~is_control], controls[~is_control], draws=_DRAWS, seed=seed)

    profiles = treatment_profiles(of_plate).query("Metadata_Compound != @CONTROL")
    mode, compound = (profiles[f"Metadata_{name}"].to_numpy(object) for name in ("moa", "Compound"))
    alike = mode[:, None] == mode
    away = distances(profiles[features_of(profiles)].to_numpy(float), "cosine")
    consistent = retrieval(away, alike & (compound[:, None] != compound), ~alike, draws=_DRAWS, seed=seed)
    return pd.DataFrame(
        {
            "question": question,
            "mean_average_precision": found["average_precision"].mean(),
            "expected": found["expected"].mean(),
            "significant": (found["q_value"] < _SIGNIFICANT).mean(),
            "queries": int(found["average_precision"].notna().sum()),
        }
        for question, found in (("activity", active), ("consistency", consistent))
    )
