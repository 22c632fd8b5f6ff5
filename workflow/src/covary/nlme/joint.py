"""The joint density of a subject's observations and random effects, and its derivatives in eta.

Φ(η) = ½ Σ_j [(y_j − f_j)²/R_j + ln R_j] + ½ η' Ω⁻¹ η, up to constants, on the scale of the residual error
model.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from covary.nlme.arrays import Array
from covary.nlme.censoring import censored_information, censored_terms
from covary.nlme.lane_algebra import inverse
from covary.nlme.lanes import Accuracy, ObservedLanes, predict
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters
from covary.nlme.residual import ResidualError
from covary.nlme.solvers.lanes import DEFAULT


class Expansion(NamedTuple):
    """Φ at eta with its gradient and a matrix of second derivatives, exact or Gauss-Newton."""

    value: Float[Array, " lane"]
    gradient: Float[Array, "k lane"]
    curvature: Float[Array, "k k lane"]


def data_terms(
    residual: ResidualError,
    lanes: ObservedLanes,
    f: Float[Array, "time lane"],
    frozen: Float[Array, "time lane"] | None,
) -> Float[Array, "time lane"]:
    """Each observation's ½ [(y − f)²/R + ln R], or its −ln probability if it is censored; 0 where there is
    none. R is taken at the prediction, or at `frozen`."""
    residual, f = residual.of(lanes.output), jnp.where(lanes.present, f, 1.0)
    r = residual.variance(f if frozen is None else jnp.where(lanes.present, frozen, 1.0))
    deviation = residual.transform(lanes.y) - residual.transform(f)
    terms = 0.5 * (jnp.square(deviation) / r + jnp.log(r)) - residual.log_jacobian(lanes.y)
    if lanes.bounds is not None:
        terms = censored_terms(residual, lanes.bounds, f, r, terms)
    return jnp.where(lanes.present, terms, 0.0)


def information(
    residual: ResidualError,
    lanes: ObservedLanes,
    f: Float[Array, "time lane"],
    frozen: Float[Array, "time lane"] | None,
) -> Float[Array, "time lane"]:
    """Each observation's Fisher information about its prediction: (d transform/df)²/R + ½ (R'/R)², or the
    curvature of its probability if it is censored."""
    residual, f = residual.of(lanes.output), jnp.where(lanes.present, f, 1.0)
    ones = jnp.ones_like(f)
    slope = jax.jvp(residual.transform, (f,), (ones,))[1]
    if frozen is not None:
        frozen = jnp.where(lanes.present, frozen, 1.0)
        w = jnp.square(slope) / residual.variance(frozen)
    else:
        r, dr = jax.jvp(residual.variance, (f,), (ones,))
        w = jnp.square(slope) / r + 0.5 * jnp.square(dr / r)
    if lanes.bounds is not None:
        w = censored_information(residual, lanes.bounds, f, frozen, w)
    return jnp.where(lanes.present, w, 0.0)


def frozen_prediction(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    lanes: ObservedLanes,
    interaction: bool,
    accuracy: Accuracy = DEFAULT,
) -> Float[Array, "time lane"] | None:
    """Predictions at eta = 0, where methods without interaction take the variance; None where it is not
    frozen."""
    if interaction or not parameters.residual.interacts:
        return None
    eta = jnp.zeros((parameters.omega.shape[0], lanes.y.shape[1]))
    return predict(model, parameters.theta, eta, lanes, accuracy)[0]


def joint(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    eta: Float[Array, "k lane"],
    lanes: ObservedLanes,
    frozen: Float[Array, "time lane"] | None,
    accuracy: Accuracy = DEFAULT,
) -> Float[Array, " lane"]:
    """Φ of each lane."""
    f = predict(model, parameters.theta, eta, lanes, accuracy)[0]
    prior = 0.5 * jnp.sum(eta * (inverse(parameters.omega) @ eta), axis=0)
    return jnp.sum(data_terms(parameters.residual, lanes, f, frozen), axis=0) + prior


def sensitivities(function, eta: Float[Array, "k lane"]):
    """`function(eta)` and its derivatives in each random effect, stacked in front."""
    k = eta.shape[0]
    directions = jnp.broadcast_to(jnp.eye(k)[:, :, None], (k, *eta.shape))
    return jax.vmap(lambda d: jax.jvp(function, (eta,), (d,)), out_axes=(None, 0))(directions)


def second_sensitivities(function, x: Float[Array, "n lane"], k: int | None = None):
    """`function(x)`, its derivatives in every coordinate (n, …), and the second derivatives (k, n, …).

    One of the two directions of a second derivative is among the first `k` coordinates (default: all).
    """
    n = x.shape[0]
    k = n if k is None else k
    pairs = [(i, j) for i in range(k) for j in range(i, n)]
    place = {pair: at for at, pair in enumerate(pairs)}
    rows, columns = np.array(pairs).T
    basis = jnp.broadcast_to(jnp.eye(n)[:, :, None], (n, *x.shape))

    def along(u, v):
        (f, _), (first, second) = jax.jvp(lambda x: jax.jvp(function, (x,), (u,)), (x,), (v,))
        return f, first, second

    # A batch of pairs, rather than all directions against all, halves the arithmetic.
    f, first, second = jax.vmap(along, out_axes=(None, 0, 0))(basis[rows], basis[columns])
    first = first[np.array([place[0, j] for j in range(n)])]
    index = np.array([[place[min(i, j), max(i, j)] for j in range(n)] for i in range(k)])
    return f, first, second[index]


def gauss_newton(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    eta: Float[Array, "k lane"],
    lanes: ObservedLanes,
    frozen: Float[Array, "time lane"] | None,
    accuracy: Accuracy = DEFAULT,
) -> Expansion:
    """Φ, its gradient, and Σ_j w_j a_j a_j' + Ω⁻¹ with a = df/dη and w the Fisher information of the
    observation."""
    f, a = sensitivities(lambda e: predict(model, parameters.theta, e, lanes, accuracy)[0], eta)
    residual = parameters.residual
    terms, slope = jax.jvp(lambda f: data_terms(residual, lanes, f, frozen), (f,), (jnp.ones_like(f),))
    omega_inverse = inverse(parameters.omega)
    w = information(residual, lanes, f, frozen)
    a = jnp.where(lanes.present, a, 0.0)
    curvature = jnp.sum(a[:, None] * a[None] * w, axis=2) + omega_inverse[:, :, None]
    gradient = jnp.sum(a * slope, axis=1) + omega_inverse @ eta
    value = jnp.sum(terms, axis=0) + 0.5 * jnp.sum(eta * (omega_inverse @ eta), axis=0)
    return Expansion(value, gradient, curvature)


def exact(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    eta: Float[Array, "k lane"],
    lanes: ObservedLanes,
    frozen: Float[Array, "time lane"] | None,
    accuracy: Accuracy = DEFAULT,
) -> Expansion:
    """Φ, its gradient, and its Hessian."""
    f, a, b = second_sensitivities(lambda e: predict(model, parameters.theta, e, lanes, accuracy)[0], eta)
    residual = parameters.residual
    ones = jnp.ones_like(f)

    def slope(f):
        return jax.jvp(lambda f: data_terms(residual, lanes, f, frozen), (f,), (ones,))[1]

    first, second = jax.jvp(slope, (f,), (ones,))
    omega_inverse = inverse(parameters.omega)
    a, b = jnp.where(lanes.present, a, 0.0), jnp.where(lanes.present, b, 0.0)
    hessian = jnp.sum(a[:, None] * a[None] * second + b * first, axis=2) + omega_inverse[:, :, None]
    value = jnp.sum(data_terms(residual, lanes, f, frozen), axis=0)
    value = value + 0.5 * jnp.sum(eta * (omega_inverse @ eta), axis=0)
    return Expansion(value, jnp.sum(a * first, axis=1) + omega_inverse @ eta, hessian)
