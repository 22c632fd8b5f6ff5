"""Random effects that vary between the occasions of a subject."""

import dataclasses
import types
from collections.abc import Callable
from functools import cache

import jax.numpy as jnp
import numpy as np

from covary.errors import UserError
from covary.nlme.design import Design
from covary.nlme.model import ClosedFormModel, OdeModel, StructuralModel
from covary.nlme.parameters import Parameters


def with_occasions(
    model: OdeModel | ClosedFormModel, occasions: int, *, column: str = "OCC"
) -> OdeModel | ClosedFormModel:
    """The model with a random effect of its own for each of the occasions 1 … `occasions`.

    The model names them in `occasion_effects`; its `individual` finds them in `eta` after the others. The
    covariate `column` says which occasion a row is of. All occasions share one block of Ω:
    `parameters(fixed_effects, omega, residual, occasion_omega)`. A closed form takes one occasion per subject
    only, since its parameters cannot change.

    Raises UserError if the model has no occasion_effects or there are fewer than two occasions.
    """
    if not model.occasion_effects:
        raise UserError(f"{type(model).__name__} has no occasion_effects, a tuple of names")
    if occasions < 2:
        raise UserError(f"occasions must be ≥ 2, got {occasions}")
    fields = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    return _with_occasions(type(model), occasions, column)(**fields)


def check_occasions(model: OdeModel | ClosedFormModel, design: Design) -> None:
    """Raise UserError if a row is of an occasion that the model does not have."""
    if not model.occasions:
        return
    number, column = model.occasions
    changing = {} if design.varying is None else design.varying.value
    values = np.unique(changing.get(column, design.covariates.get(column, np.array([]))))
    if unknown := sorted(set(values.tolist()) - set(range(1, number + 1))):
        raise UserError(f"{column} must be an occasion 1 … {number}, got {unknown[0]:g}")


@cache
def _with_occasions(
    cls: type[StructuralModel], occasions: int, column: str
) -> Callable[..., OdeModel | ClosedFormModel]:
    effects, own = tuple(cls.random_effects), tuple(cls.occasion_effects)
    k, m = len(effects), len(own)
    later = (f"{name} ({o})" for o in range(2, occasions + 1) for name in own)

    def individual(self, theta, eta, covariates):
        if isinstance(eta, np.ndarray):  # `check_model` looks whether an index lies beyond the end
            return cls.individual(self, theta, np.zeros(k + m), covariates)
        occasion = jnp.arange(1, occasions + 1) == covariates[column]
        now = jnp.sum(jnp.where(occasion[:, None], eta[k:].reshape(occasions, m), 0.0), axis=0)
        return cls.individual(self, theta, jnp.concatenate([eta[:k], now]), covariates)

    def parameters(self, fixed_effects, omega, residual, occasion_omega) -> Parameters:
        """Checked population parameters: `omega` between subjects, `occasion_omega` between occasions."""
        between, within = _matrix(omega, k), _matrix(occasion_omega, m)
        whole = np.zeros((k + m * occasions, k + m * occasions))
        whole[:k, :k] = between
        for o in range(occasions):
            at = slice(k + o * m, k + (o + 1) * m)
            whole[at, at] = within
        made = cls.parameters(self, fixed_effects, whole, residual)
        return made.shared_between_occasions(m, occasions)

    namespace = {
        "individual": individual,
        "parameters": parameters,
        "random_effects": (*effects, *own, *later),
        "occasions": (occasions, column),
        "__module__": cls.__module__,
        "__doc__": cls.__doc__,
    }
    return types.new_class(cls.__name__, (cls,), exec_body=lambda body: body.update(namespace))


def _matrix(omega, k: int) -> np.ndarray:
    """A number times the identity, a diagonal, or a matrix."""
    omega = np.asarray(omega, dtype=np.float64)
    matrix = omega * np.eye(k) if omega.ndim == 0 else np.diag(omega) if omega.ndim == 1 else omega
    if matrix.shape != (k, k):
        raise UserError(f"the Ω of {k} random effects must be {k} × {k}, got shape {matrix.shape}")
    return matrix
