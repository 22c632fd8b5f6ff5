"""What is left to say about a trained predictor: where its zero is, and how far off it is."""

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
    """Give a network its V, from subjects that it was not trained on and whose random effects are known.

    With `centre` its predictions get the mean 0, which random effects have by definition: a population fit
    that is off moves the likelihood's predictions by a constant, and by no more.

    The V that the objective fits needs no known random effects, but is not used: where records say little,
    it hears little of a network's errors.
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
    """V: the second moments of eta_hat - eta_pred, so that bias widens intervals as much as scatter does."""
    error = np.asarray(eta_hat, dtype=np.float64) - eta_pred
    covariance = error.T @ error / len(error)
    return covariance if structure == "full" else np.diag(np.diag(covariance))
