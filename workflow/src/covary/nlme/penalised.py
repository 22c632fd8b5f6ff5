"""Penalised FOCEI and Laplace: the OFV with −2 ln of the prior of network weights, minimised in both.

The OFV is taken at the mode η̂ of each subject, which moves with the parameters. One Newton step from a
constant point, η = η̂ − Φ_ηη⁻¹ ∇Φ(p, η̂), leaves the mode where it is and has its derivative in p, by the
implicit function theorem (Almquist, Leander and Jirstrand 2015). Reverse mode then gives the gradient in
thousands of weights at once.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float64
from scipy.optimize import minimize

from covary.errors import UserError
from covary.nlme import joint
from covary.nlme.check import check_records
from covary.nlme.design import Records
from covary.nlme.empirical_bayes import Status, estimate
from covary.nlme.grid import fine_grid
from covary.nlme.lane_algebra import log_determinant, solve
from covary.nlme.lanes import Accuracy, ObservedLanes, observed_lanes_of
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.neural import prior_precision, weights_of, with_weights
from covary.nlme.parameters import Parameters

METHODS = ("focei", "laplacei")
_MODE_GOAL = 1e-8  # ln|H| feels the distance to the mode to first order


class PenalisedFit(NamedTuple):
    """A population model with networks, fitted by FOCEI or Laplace."""

    model: OdeModel | ClosedFormModel  # with the fitted weights
    parameters: Parameters
    objective: float  # the OFV, without the penalty
    penalty: float  # −2 ln of the prior of the weights, constants apart
    eta: Float64[np.ndarray, "subject k"]
    method: str
    converged: bool
    verdict: str

    def __repr__(self) -> str:
        return (
            f"PenalisedFit({type(self.model).__name__}, {self.method.upper()}, OFV {self.objective:.4f} + "
            f"penalty {self.penalty:.4f}; {self.verdict})"
        )


class Slope(NamedTuple):
    """The penalised OFV of all subjects, its gradients, and the modes."""

    value: float
    by_vector: Float64[np.ndarray, " p"]  # on the scale of `Parameters.to_vector`
    by_weights: Float64[np.ndarray, " weight"]
    eta: Float64[np.ndarray, "subject k"]


def penalised_objective(
    model: OdeModel | ClosedFormModel, parameters: Parameters, records: Records, *, method: str = "focei"
) -> Slope:
    """The OFV of all subjects plus Σ w²/sd² of the weights, and its exact gradient.

    Raises UserError if the method is not focei or laplacei, a subject has no mode, or the arguments do not
    fit together.
    """
    check_records(model, parameters, records)
    if method not in METHODS:
        raise UserError(f"method of a penalised fit must be focei or laplacei, got {method!r}")
    lanes = observed_lanes_of(model, records)
    accuracy = fine_grid(model, parameters, lanes)
    return _slope(model, parameters.concrete(), lanes, accuracy, method)


def fit_penalised(
    model: OdeModel | ClosedFormModel,
    records: Records,
    initial: Parameters,
    *,
    method: str = "focei",
    max_iterations: int = 200,
) -> PenalisedFit:
    """Minimise the penalised OFV over the population parameters and the weights, by L-BFGS.

    Raises UserError as `penalised_objective` does.
    """
    check_records(model, initial, records)
    if method not in METHODS:
        raise UserError(f"method of a penalised fit must be focei or laplacei, got {method!r}")
    lanes, structure = observed_lanes_of(model, records), initial.concrete()
    accuracy, start = fine_grid(model, structure, lanes), structure.to_vector()
    p = len(start)

    def objective(x):
        own = structure.from_vector(x[:p]).concrete()
        try:
            at = _slope(with_weights(model, x[p:]), own, lanes, accuracy, method)
        except UserError:  # The search turns back where a subject has no mode.
            return np.inf, np.zeros_like(x)
        return at.value, np.concatenate([at.by_vector, at.by_weights])

    if not np.isfinite(_slope(model, structure, lanes, accuracy, method).value):
        raise UserError("the OFV cannot be computed at the initial values; choose others")
    found = minimize(
        objective,
        np.concatenate([start, weights_of(model)]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_iterations, "gtol": 1e-3 * np.sqrt(lanes.y.shape[1]), "maxcor": 30},
    )
    fitted, own = with_weights(model, found.x[p:]), structure.from_vector(found.x[:p]).concrete()
    at = _slope(fitted, own, lanes, accuracy, method)
    penalty = float(np.sum(prior_precision(model) * found.x[p:] ** 2))
    verdict = f"{'converged' if found.success else 'not converged'} after {found.nit} iterations"
    return PenalisedFit(
        fitted, own, at.value - penalty, penalty, at.eta, method, bool(found.success), verdict
    )


def _slope(model, parameters: Parameters, lanes: ObservedLanes, accuracy, method: str) -> Slope:
    modes = estimate(model, parameters, lanes, True, goal=_MODE_GOAL)
    if (modes.status == Status.FAILED).any():
        raise UserError(f"no mode was found for {int(np.sum(modes.status == Status.FAILED))} subjects")
    eta, hessian = jnp.asarray(modes.eta.T), jnp.asarray(np.moveaxis(modes.precision, 0, -1))
    value, (by_vector, by_weights) = _penalised(
        accuracy, method, model, parameters, lanes, parameters.to_vector(), weights_of(model), eta, hessian
    )
    return Slope(float(value), np.asarray(by_vector), np.asarray(by_weights), modes.eta)


@partial(jax.jit, static_argnames=("accuracy", "method"))
def _penalised(accuracy: Accuracy, method, model, structure, lanes, vector, weights, eta, hessian):
    """The penalised OFV and its gradients in the vector and the weights."""

    def value(vector, weights):
        own, parameters = with_weights(model, weights), structure.from_vector(vector)
        expand = joint.gauss_newton if method == "focei" else joint.exact
        gradient = joint.gauss_newton(own, parameters, eta, lanes, None, accuracy).gradient
        mode = eta - solve(lax.stop_gradient(hessian), gradient)
        at = expand(own, parameters, mode, lanes, None, accuracy)
        ofv = 2 * at.value + log_determinant(parameters.omega) + log_determinant(at.curvature)
        return jnp.sum(ofv) + jnp.sum(prior_precision(model) * weights**2)

    return jax.value_and_grad(value, argnums=(0, 1))(vector, weights)
