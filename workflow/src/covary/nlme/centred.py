"""A structural model whose random effects have a known mean for each subject: η = m + ζ with ζ ~ N(0, Ω).

The means are covariates of the design, so that every estimator takes them as it is.
"""

import dataclasses
from collections.abc import Callable
from functools import cache

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from covary.nlme.design import Design
from covary.nlme.model import ClosedFormModel, OdeModel, StructuralModel


def around_means(
    model: OdeModel | ClosedFormModel, design: Design, mean: Float[np.ndarray, "subject k"]
) -> tuple[OdeModel | ClosedFormModel, Design]:
    """The model as a function of ζ = η − mean, and the design that holds the mean of each subject.

    Raises ValueError if there is not one mean per subject and random effect.
    """
    expected = (design.n_subjects, len(model.random_effects))
    if mean.shape != expected:
        raise ValueError(f"mean must have shape {expected} (subjects, random effects), got {mean.shape}")
    means = {_mean_of(name): column.astype(np.float64) for name, column in
             zip(model.random_effects, mean.T, strict=True)}  # fmt: skip
    fields = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    design = dataclasses.replace(design, covariates=design.covariates | means)
    return _centred(type(model))(**fields), design


def _mean_of(random_effect: str) -> str:
    return f"mean of {random_effect}"


@cache
def _centred(cls: type[StructuralModel]) -> Callable[..., OdeModel | ClosedFormModel]:
    class Centred(cls):  # type: ignore[valid-type,misc]  # known only when it runs
        def individual(self, theta, eta, covariates):
            means = [covariates[_mean_of(name)] for name in self.random_effects]
            return super().individual(theta, eta + jnp.stack(means), covariates)

    Centred.__name__ = cls.__name__
    return Centred
