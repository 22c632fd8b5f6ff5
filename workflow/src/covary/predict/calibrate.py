"""The centre and the error covariance of a trained predictor."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64

from covary.predict.examples import Inputs
from covary.predict.network import PredictorNetwork
from covary.predict.train import predict


def calibrate(
    network: PredictorNetwork,
    inputs: Inputs,
    eta_hat: Float[np.ndarray, "subject k"],
    *,
    structure: Literal["full", "diagonal"],
    centre: bool,
) -> None:
    """Set the network's V from subjects that it was not trained on and whose random effects are known.

    With `centre`, a constant is subtracted from the predictions so that their mean is 0, the mean that random
    effects have by definition. An error of the population fit shifts predictions trained by the likelihood by
    such a constant.

    The objective `marginal_likelihood` fits a V of its own, which needs no known random effects. It is not
    used here: if records have little information, they also have little information about the network's
    errors.
    """
    eta_pred = predict(network, inputs)
    if centre:
        network.centre.copy_(torch.from_numpy(eta_pred.mean(axis=0)))
        eta_pred = eta_pred - eta_pred.mean(axis=0)
    network.covariance.copy_(torch.from_numpy(error_covariance(eta_pred, eta_hat, structure)))


def error_covariance(
    eta_pred: Float[np.ndarray, "subject k"],
    eta_hat: Float[np.ndarray, "subject k"],
    structure: Literal["full", "diagonal"] = "full",
) -> Float64[np.ndarray, "k k"]:
    """V: the second moments of eta_hat - eta_pred. They include bias, so that bias widens intervals too."""
    error = np.asarray(eta_hat, dtype=np.float64) - eta_pred
    covariance = error.T @ error / len(error)
    return covariance if structure == "full" else np.diag(np.diag(covariance))
