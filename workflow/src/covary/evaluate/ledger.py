"""The association ledger: where the explainable fraction of the random effects is lost, stage by stage.

Three predictions of the same test subjects are compared with the signal eta/√(1 + σ²):

1. eta as read from the image by a network that was trained on eta itself;
2. the prediction of an oracle from that reading; the oracle was trained for the objective, on eta in place of
   images;
3. the prediction of the predictor from the image.

Each differs from the one before in one thing. The losses between them therefore add up to what the predictor
does not reach. Where subjects come from sites, the mean errors of sites are a part of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int64

from covary.dataset.association import explainable_fraction
from covary.evaluate.metrics import POOLED, check_rows, pooled_first
from covary.resampling import Resamples, percentile_interval

PARTS = ("lost_in_image", "lost_in_estimator", "lost_in_predictor", "reached")
PARTS_WITH_SITES = (*PARTS[:3], "lost_to_site", PARTS[3])


@dataclass(frozen=True)
class Chain:
    """Predictions after each stage, at one noise level; arrays of (subject, random_effect).

    `names` are those of the random effects in the longitudinal model, in order. `read` is eta as the
    predictor's network reads it from the image. All three stages have one array per predictor, by name.
    `site` is that of each subject, where there are sites.
    """

    noise_variance: float
    names: Sequence[str]
    eta: Float[np.ndarray, "subject random_effect"]
    read: Mapping[str, Float[np.ndarray, "subject random_effect"]]
    estimated: Mapping[str, Float[np.ndarray, "subject random_effect"]]
    predicted: Mapping[str, Float[np.ndarray, "subject random_effect"]]
    site: Int64[np.ndarray, " subject"] | None = None


def association_ledger(chains: Sequence[Chain], resamples: Resamples) -> pd.DataFrame:
    """One row per noise level, predictor, random effect (`all`: their mean) and part.

    Columns: noise_variance, predictor, random_effect, part, value, low, high (95 % bootstrap over subjects)
    and share, the value as a share of the explainable fraction 1/(1 + σ²). The four parts of a predictor and
    random effect add up to the explainable fraction exactly. All are shares of the variance of eta_hat, 1.

    With sites there is a fifth part, `lost_to_site`, and shares are of the variance within sites. It is the
    mean square of (mean error at the site - mean error): what the prediction says of the site, which is not
    in the image of a subject.

    A prediction p explains 1/(1 + σ²) - E(eta/√(1 + σ²) - p)² of eta_hat. The noise r in eta_hat is
    independent of the image. This formula leaves out its chance correlations with the predictions; R² on the
    same subjects contains them. Raises ValueError if shapes differ or a value is not finite.
    """
    rows, columns = [], []
    for chain in chains:
        explainable = explainable_fraction(chain.noise_variance)
        signal = chain.eta.astype(np.float64) * np.sqrt(explainable)
        where = f"at σ² = {chain.noise_variance:g}"
        for name, prediction in chain.predicted.items():
            reading = chain.read[name] * np.sqrt(explainable)
            read = _squared_error(f"read ({name}) {where}", signal, reading)
            estimated = _squared_error(f"estimated ({name}) {where}", signal, chain.estimated[name])
            predicted = _squared_error(f"predicted ({name}) {where}", signal, prediction)
            columns += [read, estimated]
            if chain.site is not None:
                columns.append((signal - _without_site(prediction, signal, chain.site)) ** 2)
            columns.append(predicted)
            rows.append((chain.noise_variance, name, explainable))
    if not rows:
        raise ValueError("the ledger needs at least one noise level and one predictor")
    explainable = np.array([row[2] for row in rows])
    parts = PARTS if chains[0].site is None else PARTS_WITH_SITES
    stacked = np.concatenate(columns, axis=1)
    point, replicates = (
        _parts(means.reshape(len(means), len(rows), len(parts) - 1, -1), explainable)
        for means in (stacked.mean(axis=0)[None], resamples.means(stacked))
    )
    effects = [POOLED, *chains[0].names]
    table = pd.DataFrame(
        [(v, name, effect, part, most) for v, name, most in rows for effect in effects for part in parts],
        columns=["noise_variance", "predictor", "random_effect", "part", "explainable"],
    )
    table["value"] = point.ravel()
    table["low"], table["high"] = percentile_interval(replicates.reshape(len(replicates), -1))
    table["share"] = table["value"] / table["explainable"]
    return table


def measured_ceiling(ledger: pd.DataFrame) -> pd.DataFrame:
    """What images were measured to carry, one row per noise level.

    Columns: noise_variance, explainable, carried, low, high. `explainable` is the share of the variance of
    eta_hat that an image can explain by design. `carried` is what is left of it after `lost_in_image`, over
    all random effects, with its 95 % interval; of several networks, that of the one which reads most. Another
    network might read more, so `carried` is a lower bound of what is in the images. `ledger` is the table of
    `association_ledger`.
    """
    lost = ledger[(ledger["part"] == "lost_in_image") & (ledger["random_effect"] == POOLED)]
    best = lost.groupby("predictor", sort=False)["share"].mean().idxmin()
    lost = lost[lost["predictor"] == best]
    table = lost[["noise_variance", "explainable"]].copy()
    for name, end in (("carried", "value"), ("low", "high"), ("high", "low")):
        table[name] = lost["explainable"] - lost[end]
    return table.reset_index(drop=True)


def _parts(
    squared_error: Float64[np.ndarray, "resample row stage k"], explainable: Float64[np.ndarray, " row"]
) -> Float64[np.ndarray, "resample row 1+k stage+1"]:
    """The parts for all random effects and for each, from the mean squared errors after each stage."""
    first, *others = errors = list(np.moveaxis(pooled_first(squared_error), 2, 0))
    losses = [later - earlier for earlier, later in zip(errors, others, strict=False)]
    return np.stack([first, *losses, explainable[:, None] - errors[-1]], axis=-1)


def _without_site(
    prediction: Float[np.ndarray, "subject random_effect"],
    signal: Float64[np.ndarray, "subject random_effect"],
    site: Int64[np.ndarray, " subject"],
) -> Float64[np.ndarray, "subject random_effect"]:
    """Predictions less the mean error at their site, as far as it differs from the mean error."""
    error = prediction - signal
    of_sites = pd.DataFrame(error).groupby(site).transform("mean").to_numpy()
    return prediction - (of_sites - error.mean(axis=0))


def _squared_error(
    name: str,
    signal: Float64[np.ndarray, "subject random_effect"],
    prediction: Float[np.ndarray, "subject random_effect"],
) -> Float64[np.ndarray, "subject random_effect"]:
    check_rows(name, prediction, signal)
    return (signal - prediction) ** 2
