"""Variational families: what q(η), a normal distribution of each subject, is computed from.

A family is a pytree of what a fit moves. Its `normal` gives the q of all subjects, from their events where it
reads them: `Free` has numbers of each subject's own, `encoder.Recurrent` is one network for all of them.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Float64

from covary.nlme.arrays import Array


class Normal(NamedTuple):
    """q of each subject: its mean, and the lower Cholesky factor of its covariance."""

    mean: Float[Array, "subject k"]
    factor: Float[Array, "subject k k"]

    def covariance(self) -> Float[Array, "subject k k"]:
        """S of each subject."""
        return self.factor @ self.factor.swapaxes(1, 2)


class Events(NamedTuple):
    """What a network may know of subjects: doses and visits in their order, and covariates."""

    features: Float[Array, "subject event feature"]
    there: Bool[Array, "subject event"]  # not padding
    covariates: Float[Array, "subject covariate"]


class Free(eqx.Module):
    """A mean and a factor of each subject's own, the diagonal of the factor as logarithms.

    With `independent` random effects the rest of the factor is 0 (mean field).
    """

    mean: Float[Array, "subject k"]
    raw: Float[Array, "subject k k"]
    independent: bool = eqx.field(static=True)

    @classmethod
    def start(cls, n: int, covariance: Float64[np.ndarray, "k k"], independent: bool) -> "Free":
        """N(0, `covariance`) for each of `n` subjects."""
        raw = raw_factor(covariance)
        k = len(raw)
        return cls(np.zeros((n, k)), np.broadcast_to(raw, (n, k, k)).copy(), independent)

    def normal(self, events: Events | None) -> Normal:
        """q of each subject."""
        return Normal(
            self.mean, factor_of(self.raw * jnp.eye(self.raw.shape[-1]) if self.independent else self.raw)
        )


def raw_factor(covariance: Float64[np.ndarray, "k k"]) -> Float64[np.ndarray, "k k"]:
    """What `factor_of` takes to the lower Cholesky factor of a covariance."""
    factor = np.linalg.cholesky(covariance)
    return np.tril(factor, -1) + np.diag(np.log(np.diag(factor)))


def factor_of(raw: Float[Array, "subject k k"]) -> Float[Array, "subject k k"]:
    """Lower triangular matrices with a positive diagonal, from any square ones."""
    diagonal = jnp.exp(jnp.diagonal(raw, axis1=1, axis2=2))
    return jnp.tril(raw, -1) + jax.vmap(jnp.diag)(diagonal)
