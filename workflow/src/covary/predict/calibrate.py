"""What is left to say about a trained predictor: where its zero is, and how far off it is."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64

from covary.predict.evidence import Posteriors
from covary.predict.network import PredictorNetwork
from covary.predict.objectives import MarginalLikelihood
from covary.predict.train import Inputs, predict

_ROUNDS = 6


def calibrate(
    network: PredictorNetwork,
    inputs: Inputs,
    evidence: Posteriors,
    omega: Float[np.ndarray, "k k"],
    *,
    structure: Literal["full", "diagonal"],
    centre: bool,
) -> None:
    """Give a network its V, by `error_covariance`, from subjects that it was not trained on.

    With `centre` its predictions then get the mean 0, which random effects have by definition: a population
    fit that is off moves the likelihood's predictions by a constant, and by no more.
    """
    eta_pred = predict(network, inputs)
    covariance = error_covariance(eta_pred, evidence, omega, structure)
    network.covariance.copy_(torch.from_numpy(covariance))
    if centre:
        network.centre.copy_(torch.from_numpy(eta_pred.mean(axis=0)))


def error_covariance(
    mean: Float[np.ndarray, "subject k"],
    evidence: Posteriors,
    omega: Float[np.ndarray, "k k"],
    structure: Literal["full", "diagonal"] = "full",
) -> Float64[np.ndarray, "k k"]:
    """V of maximum likelihood, with eta_hat | image ~ N(mean, V), for predictions made in any way.

    For subjects that the predictor was not trained on; needs no knowledge of their eta_hat.
    """
    likelihood = MarginalLikelihood(omega, structure)
    predicted = torch.from_numpy(np.asarray(mean, dtype=np.float64))
    for _ in range(_ROUNDS):
        # As long as the expansions stay, the likelihood is smooth in V.
        expansions = likelihood.expansions(predicted, evidence)
        optimiser = torch.optim.LBFGS(likelihood.parameters(), max_iter=50, line_search_fn="strong_wolfe")

        def closure(optimiser=optimiser, expansions=expansions):
            optimiser.zero_grad()
            loss = likelihood(predicted, evidence, expansions).mean()
            loss.backward()
            return loss

        optimiser.step(closure)
    return likelihood.covariance().detach().numpy()
