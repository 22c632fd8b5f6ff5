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


class OralEquations(nlme.OdeModel):
    """`OneCompartmentOral` as differential equations."""

    fixed_effects: ClassVar = nlme.OneCompartmentOral.fixed_effects
    random_effects = nlme.OneCompartmentOral.random_effects

    def individual(self, theta, eta, covariates):
        return nlme.OneCompartmentOral().individual(theta, eta, covariates)

    def initial_state(self, p):
        return 0.0, 0.0

    def vector_field(self, t, y, p):
        absorbed = p["ka"] * y[0]
        return -absorbed, absorbed - p["cl"] / p["v"] * y[1]

    def prediction(self, t, y, p):
        return y[1] / p["v"]
