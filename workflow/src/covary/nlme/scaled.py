"""A structural model in units of its random effects: standard normal numbers in place of N(0, Ω)."""

import dataclasses
import types
from collections.abc import Callable
from functools import cache

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64

from covary.nlme.model import ClosedFormModel, OdeModel, StructuralModel


def in_standard_units(
    model: OdeModel | ClosedFormModel, omega: Float64[np.ndarray, "k k"]
) -> OdeModel | ClosedFormModel:
    """The same model as a function of ζ ~ N(0, I) with η = L ζ, where L is the Cholesky factor of Ω.

    A model whose Ω is the identity is returned as it is. Raises numpy.linalg.LinAlgError if Ω is not positive
    definite.
    """
    if np.array_equal(omega, np.eye(len(omega))):
        return model
    factor = np.linalg.cholesky(omega)
    fields = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    return _scaled(type(model))(**fields, factor=tuple(map(tuple, factor.tolist())))


@cache
def _scaled(cls: type[StructuralModel]) -> Callable[..., OdeModel | ClosedFormModel]:
    def individual(self, theta, eta, covariates):
        rows = [sum(weight * eta[j] for j, weight in enumerate(row) if weight) for row in self.factor]
        return cls.individual(self, theta, jnp.stack(rows), covariates)

    namespace = {
        "__annotations__": {"factor": tuple},
        "factor": eqx.field(static=True),
        "individual": individual,
        "__module__": cls.__module__,
        "__doc__": cls.__doc__,
    }
    return types.new_class(cls.__name__, (cls,), exec_body=lambda body: body.update(namespace))
