"""Residual error models: how an observation y scatters around a prediction f.

On the scale `transform`, y is normal with mean transform(f) and variance R(f).
"""

import abc
from typing import ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Float

from covary.nlme.arrays import Array

Values = Float[Array, "..."]


class ResidualError(eqx.Module):
    """The residual error model; its array fields, all positive, are its parameters.

    `interacts` says whether the variance depends on the prediction, and so on the random effects.
    """

    interacts: ClassVar[bool] = True

    def transform(self, value: Values) -> Values:
        """The scale on which the error is normal."""
        return value

    def inverse(self, value: Values) -> Values:
        """Back from the scale on which the error is normal."""
        return value

    def log_jacobian(self, y: Values) -> Values:
        """ln |d transform / dy|, which brings the likelihood back to the scale of y."""
        return jnp.zeros_like(y)

    @abc.abstractmethod
    def variance(self, f: Values) -> Values:
        """R, the variance of the transformed observation."""

    def observation(self, f: Values, epsilon: Values) -> Values:
        """An observation, from a prediction and a standard normal draw."""
        return self.inverse(self.transform(f) + jnp.sqrt(self.variance(f)) * epsilon)


class Additive(ResidualError):
    """y = f + ε with ε ~ N(0, sd²)."""

    interacts = False
    sd: Float[Array, ""] | float

    def variance(self, f: Values) -> Values:
        """R."""
        return jnp.broadcast_to(jnp.square(self.sd), f.shape)


class Proportional(ResidualError):
    """y = f (1 + ε) with ε ~ N(0, sd²)."""

    sd: Float[Array, ""] | float

    def variance(self, f: Values) -> Values:
        """R."""
        return jnp.square(self.sd * f)


class Combined(ResidualError):
    """Additive and proportional error: the variances add, a² + b² f², or the standard deviations, (a + b
    |f|)²."""

    additive_sd: Float[Array, ""] | float
    proportional_sd: Float[Array, ""] | float
    adds: Literal["variances", "standard_deviations"] = eqx.field(static=True, default="variances")

    def variance(self, f: Values) -> Values:
        """R."""
        if self.adds == "variances":
            return jnp.square(self.additive_sd) + jnp.square(self.proportional_sd * f)
        return jnp.square(self.additive_sd + self.proportional_sd * jnp.abs(f))


class LogNormal(ResidualError):
    """ln y = ln f + ε with ε ~ N(0, sd²); the likelihood is that of y, not of ln y."""

    interacts = False
    sd: Float[Array, ""] | float

    def transform(self, value: Values) -> Values:
        """ln y."""
        return jnp.log(value)

    def inverse(self, value: Values) -> Values:
        """e to the value."""
        return jnp.exp(value)

    def log_jacobian(self, y: Values) -> Values:
        """−ln y."""
        return -jnp.log(y)

    def variance(self, f: Values) -> Values:
        """R."""
        return jnp.broadcast_to(jnp.square(self.sd), f.shape)


RESIDUAL_ERRORS = {cls.__name__: cls for cls in (Additive, Proportional, Combined, LogNormal)}
