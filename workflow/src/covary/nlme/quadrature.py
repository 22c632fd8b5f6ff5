"""The marginal likelihood by adaptive Gauss-Hermite quadrature."""

from itertools import product

import numpy as np
from jaxtyping import Float64

from covary.errors import UserError
from covary.nlme.design import Records
from covary.nlme.empirical_bayes import empirical_bayes
from covary.nlme.likelihood import LogJoint
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters


def adaptive_quadrature(
    model: OdeModel | ClosedFormModel, parameters: Parameters, records: Records, *, points: int = 7
) -> Float64[np.ndarray, " subject"]:
    """OFV of each subject by Gauss-Hermite quadrature around its mode, `points` a random effect.

    One point is the Laplace approximation; more converge to the exact marginal likelihood. A check of the
    other methods, not for large problems: it takes points^k solves per subject. Raises ValueError if there is
    no mode.
    """
    if points < 1:
        raise ValueError(f"points must be ≥ 1, got {points}")
    modes = empirical_bayes(model, parameters, records)
    if np.any(modes.status == 2):
        subject = records.design.name(int(np.argmax(modes.status == 2)))
        raise UserError(
            f"subject {subject}: no mode of the random effects was found, so there is no quadrature"
        )
    z, log_weight = normal_quadrature(points, modes.eta.shape[1])
    factor = np.linalg.cholesky(np.linalg.inv(modes.precision))
    eta = modes.eta[:, None] + np.einsum("sij,mj->smi", factor, z)
    log_target = LogJoint(model, parameters.concrete(), records)(eta)
    terms = log_target + log_weight + 0.5 * np.sum(z**2, axis=1)
    top = terms.max(axis=1, keepdims=True)
    integral = top[:, 0] + np.log(np.sum(np.exp(terms - top), axis=1))
    return np.linalg.slogdet(parameters.omega)[1] + np.linalg.slogdet(modes.precision)[1] - 2 * integral


def normal_quadrature(
    points: int, k: int
) -> tuple[Float64[np.ndarray, "node k"], Float64[np.ndarray, " node"]]:
    """Gauss-Hermite nodes for N(0, I) of dimension k, `points` along each, and their logarithmic weights."""
    node, weight = np.polynomial.hermite_e.hermegauss(points)
    log_weight = np.log(weight / weight.sum())
    return (
        np.array(list(product(node, repeat=k))),
        np.array(list(product(log_weight, repeat=k))).sum(axis=1),
    )
