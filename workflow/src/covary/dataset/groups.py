"""Predictions as groups of the dataset."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Float, Float32
from torch import Tensor

from covary import store

_MEANINGS = {
    "eta_pred": "random effects of the record, predicted",
    "eta_read": "random effects of the image, read from it",
}


def eta_pred_read(network: str) -> str:
    """The variable of an oracle's group with its predictions from what this network reads from images."""
    return f"eta_pred_read_{network}"


def write_predictions(
    dataset: Path,
    name: str,
    subjects: slice,
    predictions: Mapping[str, Float32[np.ndarray, "subject random_effect"]],
    marker: Path,
    code: str,
    *,
    covariance: Float[Tensor, "random_effect random_effect"] | None = None,
) -> None:
    """Write the group `predictions/<name>` and its marker: arrays by name, and V where there is one."""
    variables = {
        variable: (("subject", "random_effect"), values, {"long_name": _meaning(variable), "units": "1"})
        for variable, values in predictions.items()
    }
    if covariance is not None:
        meaning = {"long_name": "covariance of eta_hat around eta_pred", "units": "1"}
        variables["covariance"] = (("random_effect", "random_effect_2"), covariance.cpu().numpy(), meaning)
    numbers = np.arange(subjects.start, subjects.stop)
    group = xr.Dataset(variables, coords={"subject": ("subject", numbers, {"long_name": "subject"})})
    store.write_group(dataset, f"predictions/{name}", group, marker, {"code": code})


def _meaning(variable: str) -> str:
    network = variable.removeprefix(eta_pred_read(""))
    if network != variable:
        return f"random effects of the record, predicted from those that {network} read from the image"
    return _MEANINGS[variable]
