"""The structural models that ship with Covary."""

from typing import ClassVar

import jax.numpy as jnp

from covary.nlme.model import ClosedFormModel, Doses, OdeModel
from covary.nlme.parameters import Parameters
from covary.nlme.residual import Additive, Combined


class SaturableElimination(OdeModel):
    """The paper's model, equations 4-8: first-order absorption from a depot D, saturable elimination of C.

    dD/dt = −Ka D,  dC/dt = Ka D − Imax C / (IC50 + C);  Ka = tvKa e^η₁, Imax = tvImax e^η₂, IC50 = tvIC50
    e^η₃. Doses go to the depot, compartment 1 of a NONMEM table.
    """

    fixed_effects: ClassVar = {"tvKa": "positive", "tvImax": "positive", "tvIC50": "positive"}
    random_effects = ("eta_Ka", "eta_Imax", "eta_IC50")

    def default_parameters(self) -> Parameters:
        """The truth of the paper."""
        return self.parameters([1.0, 2.1, 0.4], omega=1.0, residual=Additive(0.01))

    def initial_fixed_effects(self):
        """The start of the paper, away from its truth."""
        return {"tvKa": 1.0, "tvImax": 1.1, "tvIC50": 0.6}

    def individual(self, theta, eta, covariates):
        """Individual parameters, log-normal."""
        return {
            "Ka": theta["tvKa"] * jnp.exp(eta[0]),
            "Imax": theta["tvImax"] * jnp.exp(eta[1]),
            "IC50": theta["tvIC50"] * jnp.exp(eta[2]),
        }

    def initial_state(self, p):
        """State before the first dose."""
        return 0.0, 0.0

    def vector_field(self, t, y, p):
        """Time derivative of the state."""
        depot, central = y
        absorption = p["Ka"] * depot
        return -absorption, absorption - p["Imax"] * central / (p["IC50"] + central)

    def prediction(self, t, y, p):
        """What is observed."""
        return y[1]


class OneCompartmentOral(ClosedFormModel):
    """One compartment, first-order absorption and elimination: ka = e^(tka+η), CL = e^(tcl+η), V = e^(tv+η).

    Doses to compartment 1 (the depot) are absorbed, doses to compartment 2 enter the blood directly; both may
    be boluses or infusions.
    """

    fixed_effects: ClassVar = {"tka": "real", "tcl": "real", "tv": "real"}
    random_effects = ("eta_ka", "eta_cl", "eta_v")
    compartments = 2

    def default_parameters(self) -> Parameters:
        """Theophylline, near its maximum-likelihood estimates."""
        return self.parameters([0.45, 1.0, 3.45], omega=[0.6, 0.3, 0.1], residual=Additive(0.7))

    def individual(self, theta, eta, covariates):
        """Individual parameters, log-normal."""
        return {
            "ka": jnp.exp(theta["tka"] + eta[0]),
            "cl": jnp.exp(theta["tcl"] + eta[1]),
            "v": jnp.exp(theta["tv"] + eta[2]),
        }

    def closed_form(self, time_h, doses: Doses, p):
        """Concentration in the blood, by superposition of the doses."""
        ka, k = p["ka"], p["cl"] / p["v"]
        infused = doses.duration_h > 0
        duration = jnp.where(infused, doses.duration_h, 1.0)
        elapsed = jnp.where(doses.given, jnp.maximum(doses.elapsed_h, 0.0), 0.0)
        since_end = jnp.maximum(elapsed - duration, 0.0)
        bolus_depot = ka * _difference(ka, k, elapsed)
        bolus_blood = jnp.exp(-k * elapsed)
        infusion_depot = (_absorbed(ka, k, elapsed) - _absorbed(ka, k, since_end)) / duration
        infusion_blood = (jnp.exp(-k * since_end) - jnp.exp(-k * elapsed)) / (k * duration)
        depot = doses.compartment == 0
        unit = jnp.where(
            infused,
            jnp.where(depot, infusion_depot, infusion_blood),
            jnp.where(depot, bolus_depot, bolus_blood),
        )
        return jnp.sum(jnp.where(doses.given, doses.amount * unit, 0.0), axis=1) / p["v"]


class IndirectResponse(OdeModel):
    """A drug from an oral depot inhibits the production of a response (indirect response, type I).

    dD/dt = −ka D,  dC/dt = ka D/V − k C,  dR/dt = kin (1 − Imax C/(IC50 + C)) − kout R,  R(0) = kin/kout.
    """

    fixed_effects: ClassVar = {
        "tvka": "positive",
        "tvk": "positive",
        "tvV": "positive",
        "tvkin": "positive",
        "tvkout": "positive",
        "tvImax": "positive",
        "tvIC50": "positive",
    }
    random_effects = ("eta_kin", "eta_kout", "eta_IC50")

    def default_parameters(self) -> Parameters:
        """A drug that halves the response for some hours."""
        return self.parameters([1.0, 0.2, 1.0, 2.0, 0.5, 0.9, 0.2], omega=0.09, residual=Combined(0.05, 0.05))

    def individual(self, theta, eta, covariates):
        """Individual parameters, log-normal."""
        return {
            "ka": theta["tvka"],
            "k": theta["tvk"],
            "V": theta["tvV"],
            "kin": theta["tvkin"] * jnp.exp(eta[0]),
            "kout": theta["tvkout"] * jnp.exp(eta[1]),
            "Imax": theta["tvImax"],
            "IC50": theta["tvIC50"] * jnp.exp(eta[2]),
        }

    def initial_state(self, p):
        """State before the first dose."""
        return 0.0, 0.0, p["kin"] / p["kout"]

    def vector_field(self, t, y, p):
        """Time derivative of the state."""
        depot, central, response = y
        inhibition = p["Imax"] * central / (p["IC50"] + central)
        return (
            -p["ka"] * depot,
            p["ka"] * depot / p["V"] - p["k"] * central,
            p["kin"] * (1 - inhibition) - p["kout"] * response,
        )

    def prediction(self, t, y, p):
        """What is observed."""
        return y[2]


def _difference(a, b, t):
    """(e^(−bt) − e^(−at)) / (a − b), also where a = b; symmetric in a and b."""
    low, gap = jnp.minimum(a, b), jnp.abs(a - b)
    x = gap * t
    near = x < 1e-3
    series = t * (1 - x / 2 + x**2 / 6 - x**3 / 24 + x**4 / 120)
    exact = -jnp.expm1(-jnp.where(near, 1.0, x)) / jnp.where(near, 1.0, gap)
    return jnp.exp(-low * t) * jnp.where(near, series, exact)


def _absorbed(ka, k, t):
    """∫₀ᵗ ka·difference(ka, k, s) ds: the blood's response to a constant unit rate into the depot."""
    return -jnp.expm1(-k * t) / k - _difference(ka, k, t)
