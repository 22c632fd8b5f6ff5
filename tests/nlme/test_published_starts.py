"""From the starts that were published, fits of published data end at the known optimum.

Theophylline from the start of nlmixr2's tutorial is in `test_golden`, phenobarbital in `test_verdicts`.
"""

from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
from published_models import Decay
from scipy.optimize import least_squares, minimize
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


def test_the_optimum_of_a_calculation_with_scipy():
    """Wang's data: modes by BFGS, slopes by differences, with SciPy alone."""
    model, records, start = published("wang2007_nonmem")
    fit = nlme.fit_population(model, records, start, covariance=False)
    assert fit.converged, fit.verdict
    assert fit.objective == pytest.approx(-4.340352, abs=1e-3)


def biexponential_ofv(x, records):
    """FOCEI's OFV of θ, ln ω and ln σ: 2 Φ(η̂) + ln |Ω| + ln |J'J/σ² + Ω⁻¹|, with modes by least squares."""
    (a1, l1, a2, l2), omega, sd = x[:4], np.exp(x[4:7]), np.exp(x[7])

    def rates(eta):
        return np.exp(l1 + eta[1]), np.exp(l2)

    def curve(eta, t):
        fast, slow = rates(eta)
        return (a1 + eta[0]) * np.exp(-fast * t) + (a2 + eta[2]) * np.exp(-slow * t)

    def slopes(eta, t):
        fast, slow = rates(eta)
        gone = np.exp(-fast * t)
        return np.stack([gone, -(a1 + eta[0]) * gone * fast * t, np.exp(-slow * t)], axis=1)

    total = 0.0
    for t, y in zip(records.design.time_h, records.observation, strict=True):
        mode = least_squares(
            lambda z, t=t, y=y: np.append((y - curve(omega * z, t)) / sd, z),
            np.zeros(3),
            lambda z, t=t: np.concatenate([-slopes(omega * z, t) * omega / sd, np.eye(3)]),
            xtol=1e-14,
            gtol=1e-12,
            ftol=1e-14,
        )
        j = slopes(omega * mode.x, t) * omega / sd
        total += 2 * mode.cost + 2 * len(y) * np.log(sd) + np.linalg.slogdet(j.T @ j + np.eye(3))[1]
    return total


def test_a_minimum_of_an_objective_computed_with_scipy():
    model, records, start = published("indomethacin")
    fit = nlme.fit_population(model, records, start, covariance=False)
    assert fit.converged, fit.verdict
    at = np.array([*map(float, fit.parameters.theta.values()), *np.log(np.diag(fit.parameters.omega)) / 2,
                   np.log(fit.parameters.residual.sd)])  # fmt: skip
    assert biexponential_ofv(at, records) == pytest.approx(fit.objective, abs=1e-6)
    assert fit.objective == pytest.approx(-233.5294, abs=1e-3)
    h = 1e-3 * np.eye(8)

    def ofv(*steps):
        return biexponential_ofv(at + sum(steps), records)

    slope = np.array([(ofv(d) - ofv(-d)) / 2e-3 for d in h])
    curvature = np.array([[(ofv(a, b) - ofv(a, -b) - ofv(-a, b) + ofv(-a, -b)) / 4e-6 for b in h] for a in h])
    assert np.linalg.eigvalsh(curvature).min() > 0
    assert slope @ np.linalg.solve(curvature, slope) < 1e-3
