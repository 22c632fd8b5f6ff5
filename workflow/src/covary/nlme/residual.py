"""Residual error models: how an observation y scatters around a prediction f.

On the scale `transform`, y is normal with mean transform(f) and variance R(f).
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Float, Int

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

    def of(self, output: Int[Array, "time *lane"] | None) -> "ResidualError":
        """The residual error of observations of the given outputs."""
        return self

    def standard_deviations(self) -> dict[str, Float[Array, ""] | float]:
        """The estimated parameters by name."""
        return {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if not f.metadata.get("static")
        }

    def with_standard_deviations(self, sds: dict) -> "ResidualError":
        """The same error model with other parameters."""
        return dataclasses.replace(self, **sds)

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


class PerOutput(ResidualError):
    """An error model per output of a model with several."""

    names: tuple[str, ...] = eqx.field(static=True)
    errors: tuple[ResidualError, ...]
    output: Int[Array, "time *lane"] | None = None  # which output each observation is of

    @property
    def interacts(self) -> bool:  # type: ignore[override]  # follows from the outputs' own
        """Whether a variance depends on the prediction."""
        return any(error.interacts for error in self.errors)

    def of(self, output: Int[Array, "time *lane"] | None) -> "PerOutput":
        """The residual error of observations of the given outputs."""
        return PerOutput(self.names, self.errors, output)

    def standard_deviations(self) -> dict[str, Float[Array, ""] | float]:
        """The estimated parameters by output and name."""
        return {
            f"{name} {parameter}": value
            for name, error in zip(self.names, self.errors, strict=True)
            for parameter, value in error.standard_deviations().items()
        }

    def with_standard_deviations(self, sds: dict) -> "PerOutput":
        """The same error models with other parameters."""
        errors = [
            error.with_standard_deviations({p: sds[f"{name} {p}"] for p in error.standard_deviations()})
            for name, error in zip(self.names, self.errors, strict=True)
        ]
        return PerOutput(self.names, tuple(errors), self.output)

    def transform(self, value: Values) -> Values:
        """The scale on which the error is normal."""
        return self._chosen(value, lambda error, v: error.transform(v))

    def inverse(self, value: Values) -> Values:
        """Back from the scale on which the error is normal."""
        return self._chosen(value, lambda error, v: error.inverse(v))

    def log_jacobian(self, y: Values) -> Values:
        """ln |d transform / dy|."""
        return self._chosen(y, lambda error, v: error.log_jacobian(v))

    def variance(self, f: Values) -> Values:
        """R."""
        return self._chosen(f, lambda error, v: error.variance(v))

    def _chosen(self, value: Values, function: Callable) -> Values:
        if self.output is None:
            raise ValueError("the residual error of several outputs needs the output of each observation")
        output = self.output if self.output.ndim == value.ndim else self.output[:, None]
        result = jnp.zeros_like(value)
        for i, error in enumerate(self.errors):
            mine = output == i
            # 1 is a value that every error model can take: derivatives of what is not chosen stay finite.
            result = jnp.where(mine, function(error, jnp.where(mine, value, 1.0)), result)
        return result


RESIDUAL_ERRORS = {cls.__name__: cls for cls in (Additive, Proportional, Combined, LogNormal)}
