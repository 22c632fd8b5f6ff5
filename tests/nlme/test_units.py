"""Units: results do not depend on the unit of amounts or of time, and long records are as good as short
ones."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
from designs import PAPER_TIMES_H

from covary import nlme, rng

ETA = rng.normal(12, "eta", 0, 40, (3,))
MODEL = nlme.SaturableElimination()


class Oral(nlme.OdeModel):
    """One compartment with first-order absorption; the central state is a concentration."""

    fixed_effects: ClassVar = {"ka": "positive", "cl": "positive", "v": "positive"}
    random_effects = ("eta_ka", "eta_cl", "eta_v")

    def individual(self, theta, eta, covariates):
        return {name: theta[name] * jnp.exp(eta[i]) for i, name in enumerate(("ka", "cl", "v"))}

    def initial_state(self, p):
        return 0.0, 0.0

    def vector_field(self, t, y, p):
        depot, concentration = y
        return -p["ka"] * depot, (p["ka"] * depot - p["cl"] * concentration) / p["v"]

    def prediction(self, t, y, p):
        return y[1]


def saturable(amount, time, duration=0.0):
    """Predictions of the paper's model after a dose of 1 when amounts and times are in other units."""
    parameters = MODEL.parameters([1.0 / time, 2.1 * amount / time, 0.4 * amount], 1.0, nlme.Additive(1.0))
    dose = nlme.Dose(0.0, amount, duration * time)
    design = nlme.Design.regular(PAPER_TIMES_H * time, n_subjects=len(ETA), doses=[dose])
    return nlme.predictions(MODEL, parameters, ETA, design) / amount


@pytest.mark.parametrize("amount", [1e-9, 1e-8, 1e-6, 1e-3, 1e3, 1e6, 1e12])
def test_unit_of_amounts(amount):
    np.testing.assert_allclose(saturable(amount, 1.0), saturable(1.0, 1.0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("time", [3600.0, 60.0, 1 / 24, 1 / 8766], ids=["s", "min", "d", "a"])
@pytest.mark.parametrize("amount", [1e-9, 1.0, 1e12])
def test_unit_of_time(amount, time):
    found = saturable(amount, time, 2.0)
    np.testing.assert_allclose(found, saturable(1.0, 1.0, 2.0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("volume", [1e-9, 1e-3, 1e3, 1e9])
def test_states_in_units_of_their_own(volume):
    """A concentration may be many powers of ten from the dose that feeds it."""
    ode, closed = Oral(), nlme.OneCompartmentOral()
    design = nlme.Design.regular(PAPER_TIMES_H[1:], n_subjects=len(ETA), dose=1.0)
    by_ode = nlme.predictions(
        ode, ode.parameters([1.0, 0.3 * volume, volume], 1.0, nlme.Additive(1.0)), 0.5 * ETA, design
    )
    logarithms = [0.0, np.log(0.3 * volume), np.log(volume)]
    by_formula = nlme.predictions(
        closed, closed.parameters(logarithms, 1.0, nlme.Additive(1.0)), 0.5 * ETA, design
    )
    np.testing.assert_allclose(by_ode * volume, by_formula * volume, rtol=1e-6, atol=1e-6)


def test_fit_in_other_units():
    def fit(amount):
        design = nlme.Design.regular(PAPER_TIMES_H, n_subjects=20, dose=amount)
        truth = MODEL.parameters([1.0, 2.1 * amount, 0.4 * amount], 0.2, nlme.Additive(0.01 * amount))
        observation = nlme.simulate(MODEL, truth, 0.4 * ETA[:20], design, 1).observation
        return nlme.fit_population(
            MODEL, nlme.Records.of(design, observation), truth, method="foce", covariance=False
        )

    one = fit(1.0)
    for amount in (1e-9, 1e12):
        other = fit(amount)
        assert one.converged and other.converged, other.verdict
        shift = 2 * np.log(amount) * one.n_observations
        assert other.objective - shift == pytest.approx(one.objective, abs=1e-5 * abs(shift))
        np.testing.assert_allclose(other.eta, one.eta, atol=1e-3)
        np.testing.assert_allclose(other.parameters.omega, one.parameters.omega, rtol=2e-3)
        for name, value in one.parameters.natural().items():
            unit = 1.0 if name == "tvKa" or name.startswith("omega") else amount
            assert other.parameters.natural()[name] / unit == pytest.approx(value, rel=2e-3), name


def test_many_doses():
    """Daily doses for a year: the limit of steps holds between two events, not for the record."""
    ode, closed = Oral(), nlme.OneCompartmentOral()
    doses = [nlme.Dose(0.0, 100.0, additional=364, interval_h=24.0)]
    times = [1.0, 90 * 24.0, 200 * 24 + 5.0, 365 * 24.0]
    design = nlme.Design.regular(times, n_subjects=1, doses=doses)
    by_ode = nlme.predictions(ode, ode.parameters([1.0, 3.0, 30.0], 1.0, nlme.Additive(1.0)), ETA[:1], design)
    logarithms = [0.0, np.log(3.0), np.log(30.0)]
    by_formula = nlme.predictions(
        closed, closed.parameters(logarithms, 1.0, nlme.Additive(1.0)), ETA[:1], design
    )
    np.testing.assert_allclose(by_ode, by_formula, rtol=1e-5)


class Explodes(nlme.OdeModel):
    """y' = y² from y = rate: infinite at t = 1/rate."""

    fixed_effects: ClassVar = {"rate": "positive"}
    random_effects = ("eta",)

    def individual(self, theta, eta, covariates):
        return {"rate": theta["rate"] * jnp.exp(eta[0]) * covariates["speed"]}

    def initial_state(self, p):
        return (p["rate"],)

    def vector_field(self, t, y, p):
        return (y[0] ** 2,)

    def prediction(self, t, y, p):
        return y[0]


def test_failed_solve_names_subject_and_cause():
    design = nlme.Design.regular([0.0, 1.0, 2.0], n_subjects=3, covariates={"speed": [0.1, 1.0, 0.2]})
    records = nlme.Records.of(design, np.ones((3, 3)))
    start = Explodes().parameters([1.0], 1e-4, nlme.Additive(1.0))
    with pytest.raises(ValueError, match=r"subject 1 .* (steps between two events|step size vanished)"):
        nlme.fit_population(Explodes(), records, start)
