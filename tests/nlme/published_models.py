"""Models of published data that several tests fit."""

from typing import ClassVar

import jax.numpy as jnp

from covary import nlme


class Decay(nlme.ClosedFormModel):
    """Wang (2007): f = 10 exp(−k e^η t)."""

    fixed_effects: ClassVar = {"k": "positive"}
    random_effects = ("eta",)

    def individual(self, theta, eta, covariates):
        return {"k": theta["k"] * jnp.exp(eta[0])}

    def closed_form(self, time_h, doses, p):
        return 10 * jnp.exp(-p["k"] * time_h)
