"""How much individual parameters vary between subjects."""

import jax
import numpy as np
from jaxtyping import Float64

from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters

_POINTS = 40  # of the quadrature: exact for log-normal parameters with ω up to 2


def coefficients_of_variation(
    model: OdeModel | ClosedFormModel, parameters: Parameters, covariates: dict[str, float]
) -> Float64[np.ndarray, " k"]:
    """The CV of the individual parameter that each random effect changes, the other random effects at 0.

    It is sd/|mean| over N(0, ω²): √(e^ω² − 1) for a log-normal parameter, ω/|θ| for θ + η. Of several
    parameters that a random effect changes, the first counts. NaN if it changes none, or if the mean is 0.
    Of random effects per occasion the first occasion stands for all.
    """
    if model.occasions is not None:
        covariates = covariates | {model.occasions[1]: 1.0}
    parameters = parameters.concrete()
    node, weight = np.polynomial.hermite_e.hermegauss(_POINTS)
    weight = weight / weight.sum()
    k = len(parameters.omega)
    eta = np.zeros((k, _POINTS, k))
    for j, sd in enumerate(np.sqrt(np.diag(parameters.omega))):
        eta[j, :, j] = sd * node
    individual = jax.vmap(lambda e: model.individual(parameters.theta, e, covariates))
    values = individual(eta.reshape(-1, k))
    cv = np.full(k, np.nan)
    for name in reversed(list(values)):
        value = np.asarray(values[name], dtype=np.float64).reshape(k, _POINTS)
        mean = value @ weight
        sd = np.sqrt(np.square(value - mean[:, None]) @ weight)
        changes = sd > 1e-12 * np.abs(value).max(axis=1)
        cv = np.where(changes & (np.abs(mean) > 1e-9 * sd), sd / np.where(mean == 0, 1.0, np.abs(mean)), cv)
    return cv
