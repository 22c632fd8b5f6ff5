"""Predictions as labelled arrays."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Float, Float32

_MEANINGS = {
    "eta_pred": "random effects of the record, predicted",
    "eta_pred_read": "random effects of the record, predicted from those that were read from the image",
    "eta_read": "random effects of the image, read from it",
}


def label(
    subjects: slice,
    predictions: Mapping[str, Float32[np.ndarray, "subject random_effect"]],
    covariance: Float[np.ndarray, "random_effect random_effect"] | None = None,
) -> xr.Dataset:
    """A group `predictions/…` of the dataset: arrays by name, and V where the predictor has one."""
    variables = {
        name: (("subject", "random_effect"), values, {"long_name": _MEANINGS[name], "units": "1"})
        for name, values in predictions.items()
    }
    if covariance is not None:
        meaning = {"long_name": "covariance of eta_hat around eta_pred", "units": "1"}
        variables["covariance"] = (("random_effect", "random_effect_2"), covariance, meaning)
    numbers = np.arange(subjects.start, subjects.stop)
    return xr.Dataset(variables, coords={"subject": ("subject", numbers, {"long_name": "subject"})})
