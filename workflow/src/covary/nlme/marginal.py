"""The marginal likelihood of each subject and its exact gradient in the population parameters.

OFV_i = 2 Φ_i(η̂) + ln|Ω| + ln|H_i| − k-independent constants, NONMEM's convention: without the n ln 2π. H
is the Gauss-Newton curvature (FOCE, FOCEI) or the Hessian (Laplace) at the mode η̂; FO linearises at η = 0
instead.

The solver is differentiated in forward mode, in the few directions that matter: random effects and fixed
effects. Everything else (Ω, residual error, determinants, the movement of the mode by the implicit function
theorem) is algebra on those derivatives.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64, Int8

from covary.errors import UserError
from covary.nlme import joint
from covary.nlme.arrays import Array
from covary.nlme.blocks import lane_program, map_lanes
from covary.nlme.check import check_records
from covary.nlme.design import Records
from covary.nlme.empirical_bayes import Status, estimate
from covary.nlme.lane_algebra import inverse, log_determinant, solve
from covary.nlme.lanes import ObservedLanes, observed_lanes_of, predict
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters

_MODE_GOAL = 1e-8  # ln|H| feels the distance to the mode to first order, Φ only to second
METHODS = ("fo", "foce", "focei", "laplace", "laplacei")


class Marginal(NamedTuple):
    """Each subject's OFV, its gradient in the unconstrained parameters, the mode, and how the search for
    it ended."""

    ofv: Float64[np.ndarray, " subject"]
    gradient: Float64[np.ndarray, "p subject"]  # no rows unless it is asked for
    eta: Float64[np.ndarray, "subject k"]
    status: Int8[np.ndarray, " subject"]

    def __repr__(self) -> str:
        return f"Marginal({len(self.ofv)} subjects, OFV {np.sum(self.ofv):.4f})"


class _Derivatives(NamedTuple):
    """What the approximations need of the predictions f at η: a = df/dη, b = d²f/dη² (Laplace), f at η =
    0."""

    f: Float[Array, "*direction time lane"]
    a: Float[Array, "*direction k time lane"]
    b: Float[Array, "*direction k k time lane"] | None
    frozen: Float[Array, "*direction time lane"] | None


def objective(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    records: Records,
    *,
    method: str = "focei",
    gradient: bool = False,
) -> Marginal:
    """OFV of each subject at given parameters; its sum is the OFV that NONMEM prints.

    The gradient is on the scale of `parameters.to_vector()`.

    A pure function of its arguments: nothing is remembered between calls. Raises ValueError if the method
    is unknown or model, parameters and records do not fit together.
    """
    check_method(method)
    check_records(model, parameters, records)
    return marginal(
        model, parameters.concrete(), observed_lanes_of(model, records), method, gradient=gradient
    )


def check_method(method: str) -> None:
    """Raise ValueError unless the method is known."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")


def marginal(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    lanes: ObservedLanes,
    method: str,
    *,
    gradient: bool,
    near: Float64[np.ndarray, "subject k"] | None = None,
) -> Marginal:
    """OFV of each lane, and its gradient on the scale of `parameters.to_vector()` if wanted.

    `near` are the modes under almost the same parameters, for differences of a step.
    """
    if method == "fo" and lanes.bounds is not None:
        raise UserError("method fo cannot use censored observations; use focei or laplacei, or censoring M1")
    interaction = method in ("fo", "focei", "laplacei")
    n, k = lanes.y.shape[1], parameters.omega.shape[0]
    if method == "fo":
        eta, status = np.zeros((k, n)), np.zeros(n, dtype=np.int8)
    else:
        modes = estimate(model, parameters, lanes, interaction, goal=_MODE_GOAL, hessian=False, near=near)
        eta, status = np.ascontiguousarray(modes.eta.T), modes.status
    vector = parameters.to_vector()
    program = partial(_marginal, method, gradient, model, parameters, vector)
    ofv, slopes = map_lanes(program, n, lambda index: (eta[:, index], lanes.select(index)))
    failed = (status == Status.FAILED) | ~np.isfinite(ofv)
    return Marginal(ofv, slopes, eta.T, np.where(failed, Status.FAILED, status).astype(np.int8))


@lane_program(n_shared=5, static_argnums=(0, 1))
def _marginal(method, gradient, model, structure: Parameters, vector, eta, lanes):
    """OFV (lane,) and its gradient (p, lane), or (0, lane) if it is not asked for."""
    at, slopes = _derivatives(method, model, structure, vector, eta, lanes, gradient)
    ofv = partial(_linearised if method == "fo" else _approximate, structure, lanes)
    if not gradient:
        return ofv(vector, eta, at), jnp.zeros((0, eta.shape[1]))
    k, p = eta.shape[0], vector.shape[0]
    by_eta = jax.tree.map(lambda v: v[:k], slopes)
    # Ω and the residual error leave the predictions alone.
    by_vector = jax.tree.map(
        lambda v: jnp.concatenate([v[k:], jnp.zeros((p - (v.shape[0] - k), *v.shape[1:]))]), slopes
    )
    directions = jnp.eye(p)
    if method == "fo":
        slope = jax.vmap(lambda d, along: jax.jvp(lambda v, x: ofv(v, eta, x), (vector, at), (d, along))[1])
        return ofv(vector, eta, at), slope(directions, by_vector)

    def phi_slope(vector, eta, at):
        return _phi_slope(structure, lanes, vector, eta, at)

    def hessian_row(direction, along):
        tangent = jnp.broadcast_to(direction[:, None], eta.shape)
        return jax.jvp(phi_slope, (vector, eta, at), (jnp.zeros_like(vector), tangent, along))[1]

    hessian = jax.vmap(hessian_row)(jnp.eye(k), by_eta)

    def total(direction, along):
        """Derivative of the OFV along one parameter, the mode moving with it."""
        mixed = jax.jvp(phi_slope, (vector, eta, at), (direction, jnp.zeros_like(eta), along))[1]
        moved = -solve(hessian, mixed)
        along = jax.tree.map(lambda v, e: v + jnp.einsum("i...l,il->...l", e, moved), along, by_eta)
        return jax.jvp(ofv, (vector, eta, at), (direction, moved, along))[1]

    return ofv(vector, eta, at), jax.vmap(total)(directions, by_vector)


def _derivatives(
    method, model, structure, vector, eta, lanes, gradient
) -> tuple[_Derivatives, _Derivatives | None]:
    """The predictions' derivatives, and the derivatives of those along each random and each fixed effect."""
    k, n_theta = eta.shape[0], len(structure.domains)
    theta = jnp.broadcast_to(vector[:n_theta, None], (n_theta, eta.shape[1]))
    laplace = method in ("laplace", "laplacei")

    def function(x):
        return jnp.where(lanes.present, predict(model, structure.theta_from(x[k:]), x[:k], lanes)[0], 0.0)

    x = jnp.concatenate([eta, theta])
    n = k + n_theta

    def second(x):
        return joint.second_sensitivities(function, x, k)

    frozen = frozen_slopes = None
    if method in ("foce", "laplace") and structure.residual.interacts:
        at_zero = jnp.concatenate([jnp.zeros_like(eta), theta])
        frozen, frozen_slopes = joint.sensitivities(function, at_zero)
        frozen_slopes = frozen_slopes.at[:k].set(0.0)
    if not gradient:

        def of_eta(e):
            return function(jnp.concatenate([e, theta]))

        (f, a), b = joint.sensitivities(of_eta, eta), None
        if laplace:
            f, a, b = joint.second_sensitivities(of_eta, eta)
        return _Derivatives(f, a, b, frozen), None
    if not laplace:
        f, first, a_slopes = second(x)
        return (
            _Derivatives(f, first[:k], None, frozen),
            _Derivatives(first, jnp.swapaxes(a_slopes, 0, 1), None, frozen_slopes),
        )
    directions = jnp.broadcast_to(jnp.eye(n)[:, :, None], (n, *x.shape))
    (f, first, a_slopes), (_, _, b_slopes) = jax.vmap(
        lambda d: jax.jvp(second, (x,), (d,)), out_axes=(None, 0)
    )(directions)
    return (
        _Derivatives(f, first[:k], a_slopes[:, :k], frozen),
        _Derivatives(first, jnp.swapaxes(a_slopes, 0, 1), b_slopes[:, :, :k], frozen_slopes),
    )


def _phi_slope(structure, lanes, vector, eta, at: _Derivatives) -> Float[Array, "k lane"]:
    """∇Φ from the sensitivities."""
    parameters = structure.from_vector(vector)
    ones = jnp.ones_like(at.f)
    slope = jax.jvp(lambda f: joint.data_terms(parameters.residual, lanes, f, at.frozen), (at.f,), (ones,))[1]
    return jnp.sum(at.a * slope, axis=1) + inverse(parameters.omega) @ eta


def _approximate(structure, lanes, vector, eta, at: _Derivatives) -> Float[Array, " lane"]:
    """2 Φ + ln|Ω| + ln|H|."""
    parameters = structure.from_vector(vector)
    residual, omega_inverse = parameters.residual, inverse(parameters.omega)

    def terms(f):
        return joint.data_terms(residual, lanes, f, at.frozen)

    if at.b is None:
        w = joint.information(residual, lanes, at.f, at.frozen)
        h = jnp.einsum("itl,jtl,tl->ijl", at.a, at.a, w)
    else:
        ones = jnp.ones_like(at.f)
        first, second = jax.jvp(lambda f: jax.jvp(terms, (f,), (ones,))[1], (at.f,), (ones,))
        h = jnp.einsum("itl,jtl,tl->ijl", at.a, at.a, second) + jnp.sum(at.b * first, axis=2)
    h = h + omega_inverse[:, :, None]
    phi = jnp.sum(terms(at.f), axis=0) + 0.5 * jnp.sum(eta * (omega_inverse @ eta), axis=0)
    return 2 * phi + log_determinant(parameters.omega) + log_determinant(h)


def _linearised(structure, lanes, vector, eta, at: _Derivatives) -> Float[Array, " lane"]:
    """FO: ln|C| + (y − f)' C⁻¹ (y − f) with C = J Ω J' + R at η = 0."""
    parameters = structure.from_vector(vector)
    residual = parameters.residual.of(lanes.output)
    f = jnp.where(lanes.present, at.f, 1.0)
    slope = jax.jvp(residual.transform, (f,), (jnp.ones_like(f),))[1]
    j = at.a * slope
    r = jnp.where(lanes.present, residual.variance(f), 1.0)  # an absent observation adds ln 1 = 0
    c = jnp.einsum("itl,ij,jsl->tsl", j, parameters.omega, j) + jnp.eye(len(r))[:, :, None] * r
    deviation = jnp.where(lanes.present, residual.transform(lanes.y) - residual.transform(f), 0.0)
    jacobian = jnp.sum(jnp.where(lanes.present, residual.log_jacobian(lanes.y), 0.0), axis=0)
    return log_determinant(c) + jnp.sum(deviation * solve(c, deviation), axis=0) - 2 * jacobian
