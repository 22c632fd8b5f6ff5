"""From the starts that were published, fits of published data end at the known optimum.

Theophylline from the start of nlmixr2's tutorial is in `test_golden`, phenobarbital in `test_verdicts`.
"""

from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
from published_models import Decay
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from covary import nlme

DATA = Path(__file__).parents[1] / "data"


class Logistic(nlme.ClosedFormModel):
    """R's SSlogis with a random effect on the asymptote."""

    fixed_effects: ClassVar = {"Asym": "real", "xmid": "real", "scal": "real"}
    random_effects = ("eta_Asym",)

    def individual(self, theta, eta, covariates):
        return theta | {"Asym": theta["Asym"] + eta[0]}

    def closed_form(self, time_h, doses, p):
        return p["Asym"] / (1 + jnp.exp((p["xmid"] - time_h) / p["scal"]))


class Asymptotic(nlme.ClosedFormModel):
    """R's SSasymp with a random effect on the asymptote."""

    fixed_effects: ClassVar = {"Asym": "real", "R0": "real", "lrc": "real"}
    random_effects = ("eta_Asym",)

    def individual(self, theta, eta, covariates):
        return theta | {"Asym": theta["Asym"] + eta[0]}

    def closed_form(self, time_h, doses, p):
        return p["Asym"] + (p["R0"] - p["Asym"]) * jnp.exp(-jnp.exp(p["lrc"]) * time_h)


class Biexponential(nlme.ClosedFormModel):
    """R's SSbiexp with random effects on A1, lrc1 and A2."""

    fixed_effects: ClassVar = {"A1": "real", "lrc1": "real", "A2": "real", "lrc2": "real"}
    random_effects = ("eta_A1", "eta_lrc1", "eta_A2")

    def individual(self, theta, eta, covariates):
        return theta | {n: theta[n] + eta[i] for i, n in enumerate(("A1", "lrc1", "A2"))}

    def closed_form(self, time_h, doses, p):
        first = p["A1"] * jnp.exp(-jnp.exp(p["lrc1"]) * time_h)
        return first + p["A2"] * jnp.exp(-jnp.exp(p["lrc2"]) * time_h)


# Table, model and the start as published.
PUBLISHED = {
    # R, the example of ?nlme.
    "loblolly": (Asymptotic(), ([103.0, -8.5, -3.3], 1.0, nlme.Additive(1.0))),
    # lme4, the example of ?nlmer.
    "orange": (Logistic(), ([200.0, 725.0, 350.0], 100.0, nlme.Additive(1.0))),
    # Pinheiro & Bates (2000), section 6.2.
    "indomethacin": (Biexponential(), ([2.8276, 0.7736, 0.4617, -1.3460], 0.1, nlme.Additive(0.1))),
    # Wang (2007).
    "wang2007_nonmem": (Decay(), ([0.5], 0.04, nlme.Proportional(0.1**0.5))),
}


def published(table):
    model, start = PUBLISHED[table]
    return model, nlme.read_nonmem(DATA / f"{table}.csv"), model.parameters(*start)


@pytest.mark.parametrize(
    ("table", "curve", "slope"),
    [
        (
            "loblolly",
            lambda t, a, r0, lrc: a + (r0 - a) * np.exp(-np.exp(lrc) * t),
            lambda t, a, r0, lrc: 1 - np.exp(-np.exp(lrc) * t),
        ),
        (
            "orange",
            lambda t, a, xmid, scal: a / (1 + np.exp((xmid - t) / scal)),
            lambda t, a, xmid, scal: 1 / (1 + np.exp((xmid - t) / scal)),
        ),
    ],
)
def test_linear_random_effect_by_the_exact_likelihood(table, curve, slope):
    """With a linear random effect a record is normal with covariance ω² a a' + σ² I."""
    model, records, start = published(table)
    fit = nlme.fit_population(model, records, start, covariance=False)
    time, height = records.design.time_h[0], records.observation

    def deviance(x):
        a = slope(time, *x[:3])
        c = np.exp(2 * x[3]) * np.outer(a, a) + np.exp(2 * x[4]) * np.eye(len(time))
        return -2 * multivariate_normal(curve(time, *x[:3]), c).logpdf(height).sum()

    theta = [float(v) for v in fit.parameters.theta.values()]
    near = [*theta, np.log(fit.parameters.omega[0, 0]) / 2, np.log(fit.parameters.residual.sd)]
    assert fit.converged, fit.verdict
    assert deviance(near) == pytest.approx(fit.minus_two_log_likelihood, abs=1e-6)
    elsewhere = minimize(deviance, np.multiply(near, 1.02), method="Nelder-Mead", options={"maxfev": 4000})
    assert fit.minus_two_log_likelihood == pytest.approx(elsewhere.fun, abs=1e-3)
    if table == "orange":  # lme4, the output of ?nlmer
        assert fit.minus_two_log_likelihood == pytest.approx(263.1438, abs=1e-3)


# The first optimum is that of a calculation with SciPy alone: modes by BFGS, slopes by differences. The
# second is the engine's own. It shows that another search still ends in the same place.
@pytest.mark.parametrize(("table", "ofv"), [("wang2007_nonmem", -4.340352), ("indomethacin", -233.5294)])
def test_nonlinear_random_effects(table, ofv):
    model, records, start = published(table)
    fit = nlme.fit_population(model, records, start, covariance=False)
    assert fit.converged, fit.verdict
    assert fit.objective == pytest.approx(ofv, abs=1e-3)
