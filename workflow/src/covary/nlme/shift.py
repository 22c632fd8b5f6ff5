"""Means of random effects that fixed effects take up.

Some methods estimate a population in which random effects have a mean. Where every fixed effect is shifted by
a random effect, as in θ e^η or θ + η, this is the population N(0, Ω) with other fixed effects.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import least_squares

from covary.errors import UserError
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters

_EXACT = 1e-6  # largest relative error of individual parameters


def mean_between(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    other: Parameters,
    covariates: dict[str, float],
) -> Float[np.ndarray, " k"]:
    """The mean of η under `parameters` that gives the individual parameters of η = 0 under `other`.

    It is 0 if no mean does: where no random effect shifts a fixed effect that differs.
    """
    k = len(other.omega)
    points = _points(other)

    def individual(theta, shift):
        each = jax.vmap(lambda eta: model.individual(theta, eta + shift, covariates))(points)
        return jnp.concatenate([jnp.ravel(value) for value in each.values()])

    target = np.asarray(individual(other.concrete().theta, np.zeros(k)))
    here, scale = partial(individual, parameters.concrete().theta), np.abs(target) + 1e-12
    found = least_squares(
        lambda shift: (np.asarray(here(shift)) - target) / scale,
        np.zeros(k),
        jac=lambda shift: np.asarray(jax.jacfwd(here)(shift)) / scale[:, None],
        xtol=1e-14, ftol=1e-14, gtol=1e-14,
    )  # fmt: skip
    return found.x if np.abs(found.fun).max() < _EXACT else np.zeros(k)


def with_mean(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    mean: Float[np.ndarray, " k"],
    covariates: dict[str, float],
) -> Parameters:
    """The parameters under which η ~ N(0, Ω) gives the individual parameters of η ~ N(mean, Ω) under these.

    Raises UserError if there are none, or more than one: a fixed effect that no random effect shifts.
    """
    parameters = parameters.concrete()
    n_fixed, k = len(parameters.domains), len(parameters.omega)
    points = _points(parameters)

    def individual(fixed, shift):
        theta = parameters.theta_from(fixed)
        each = jax.vmap(lambda eta: model.individual(theta, eta + shift, covariates))(points)
        return jnp.concatenate([jnp.ravel(value) for value in each.values()])

    start, zero = parameters.to_vector()[:n_fixed], np.zeros(k)
    by_fixed = np.asarray(jax.jacfwd(individual)(start, zero))
    by_random = np.asarray(jax.jacfwd(individual, argnums=1)(start, zero))
    together = np.linalg.matrix_rank(np.concatenate([by_fixed, by_random], axis=1))
    ranks = {np.linalg.matrix_rank(by_fixed), np.linalg.matrix_rank(by_random), together, n_fixed}
    if len(ranks) > 1:
        names = ", ".join(name for name, _ in parameters.domains)
        raise UserError(
            f"{type(model).__name__}: each fixed effect ({names}) must be shifted by one random effect, as "
            "in θ e^η or θ + η"
        )
    target = np.asarray(individual(start, mean))
    scale = np.abs(target) + 1e-12
    found = least_squares(
        lambda fixed: (np.asarray(individual(fixed, zero)) - target) / scale,
        start,
        jac=lambda fixed: np.asarray(jax.jacfwd(individual)(fixed, zero)) / scale[:, None],
        xtol=1e-14, ftol=1e-14, gtol=1e-14,
    )  # fmt: skip
    if not np.abs(found.fun).max() < _EXACT:
        raise UserError(f"{type(model).__name__}: fixed effects cannot take up a mean of the random effects")
    theta = {name: float(value) for name, value in parameters.theta_from(found.x).items()}
    return dataclasses.replace(parameters, theta=theta)


def _points(parameters: Parameters) -> Array:
    """Random effects at which individual parameters are compared."""
    sd = np.diag(np.sqrt(np.diag(parameters.omega)))
    return jnp.concatenate([jnp.zeros((1, len(sd))), sd, -sd])
