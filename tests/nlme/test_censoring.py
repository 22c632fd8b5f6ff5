"""Censored observations against the same integrals computed with SciPy."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp
from scipy.stats import norm

from covary import nlme

Y = np.array([2.1, 1.2, 0.5, 0.5, 3.0])
TIMES = np.array([1.0, 2.0, 4.0, 6.0, 0.2])
# Exact, exact, below 0.5, between 0.1 and 0.5, above 3.
BOUNDS = [(np.nan, np.nan), (np.nan, np.nan), (-np.inf, 0.5), (0.1, 0.5), (3.0, np.inf)]


class Decay(nlme.ClosedFormModel):
    fixed_effects: ClassVar = {"k": "positive"}
    random_effects = ("eta",)

    def individual(self, theta, eta, covariates):
        return {"k": theta["k"] * jnp.exp(eta[0])}

    def closed_form(self, time_h, doses, p):
        return 3 * jnp.exp(-p["k"] * time_h)


def records(floor):
    order = np.argsort(TIMES)
    low, high = np.array(BOUNDS).T[:, order]
    if np.isfinite(floor):
        low = np.where(low == -np.inf, floor, low)
    bounds = nlme.Bounds(low[None], high[None], np.full((1, 5), floor))
    design = nlme.Design.regular(TIMES[order], n_subjects=1)
    return nlme.Records.of(design, Y[order][None], bounds=bounds)


def phi(eta, k, omega, residual, floor):
    """Φ(η) of `records`, term by term."""
    total = 0.5 * eta**2 / omega
    log_scale = isinstance(residual, nlme.LogNormal)
    for y, time, (low, high) in zip(Y, TIMES, BOUNDS, strict=True):
        f = 3 * np.exp(-k * np.exp(eta) * time)
        sd = residual.sd * (f if isinstance(residual, nlme.Proportional) else 1.0)
        mean = np.log(f) if log_scale else f

        def z(bound, mean=mean, sd=sd):
            if log_scale:
                bound = np.log(bound) if bound > 0 else -np.inf
            return (bound - mean) / sd

        if np.isnan(low):
            total += 0.5 * z(y) ** 2 + np.log(sd) + (np.log(y) if log_scale else 0.0)
        else:
            total -= np.log(norm.cdf(z(high)) - norm.cdf(z(max(low, floor))))
        total += norm.logsf(z(floor))
    return total


def laplace_ofv(k, omega, residual, floor):
    """2 Φ(η̂) + ln Ω + ln Φ''(η̂), by minimisation and fourth-order differences."""
    arguments = (k, omega, residual, floor)
    mode = minimize_scalar(phi, args=arguments, bounds=(-3, 3), method="bounded", options={"xatol": 1e-10}).x
    h = 2e-3
    weights = {-2: -1, -1: 16, 0: -30, 1: 16, 2: -1}
    curvature = sum(w * phi(mode + i * h, *arguments) for i, w in weights.items()) / (12 * h**2)
    return 2 * phi(mode, *arguments) + np.log(omega) + np.log(curvature)


@pytest.mark.parametrize("floor", [-np.inf, 0.0], ids=["M3", "M4"])
@pytest.mark.parametrize(
    "error",
    [nlme.Additive, *(pytest.param(e, marks=pytest.mark.slow) for e in (nlme.Proportional, nlme.LogNormal))],
)
def test_censored_likelihood_and_its_gradient_are_those_of_scipy(error, floor):
    parameters = Decay().parameters([0.35], 0.2, error(0.4))
    found = nlme.objective(Decay(), parameters, records(floor), method="laplacei", gradient=True)
    assert found.ofv[0] == pytest.approx(laplace_ofv(0.35, 0.2, error(0.4), floor), abs=1e-6)
    h = 1e-3
    vector = parameters.to_vector()  # ln k, ln √Ω, ln sd

    def ofv(v):
        k, sd_eta, sd = np.exp(v)
        return laplace_ofv(k, sd_eta**2, error(sd), floor)

    for i, direction in enumerate(np.eye(3)):
        numeric = (ofv(vector + h * direction) - ofv(vector - h * direction)) / (2 * h)
        assert found.gradient[i, 0] == pytest.approx(numeric, abs=2e-4, rel=2e-4)


def test_focei_gradient_with_censored_observations():
    parameters = Decay().parameters([0.35], 0.2, nlme.Combined(0.1, 0.3))
    found = nlme.objective(Decay(), parameters, records(0.0), method="focei", gradient=True)
    vector, h = parameters.to_vector(), 1e-4

    def ofv(v):
        return nlme.objective(Decay(), parameters.from_vector(v).concrete(), records(0.0)).ofv[0]

    numeric = [(ofv(vector + h * d) - ofv(vector - h * d)) / (2 * h) for d in np.eye(4)]
    np.testing.assert_allclose(found.gradient[:, 0], numeric, atol=1e-5)


def test_bounds_far_from_the_prediction_keep_finite_derivatives():
    from covary.nlme.censoring import censored_terms

    bounds = nlme.Bounds(*(np.array([[v], [w]]) for v, w in ((-np.inf, 30.0), (1.0, 31.0), (-np.inf, 0.0))))
    residual = nlme.Additive(0.1)

    def terms(f):
        return censored_terms(residual, bounds, f, residual.variance(f), jnp.zeros_like(f))

    f = jnp.array([[50.0], [2.0]])
    value, slope = jax.jvp(terms, (f,), (jnp.ones_like(f),))
    expected = [-norm.logcdf(-490.0), -norm.logsf(280.0)]
    np.testing.assert_allclose(value[:, 0], expected, rtol=1e-9)
    np.testing.assert_allclose(slope[:, 0], [4900.0, -2800.0], rtol=1e-3)


def test_fo_refuses_censored_observations():
    with pytest.raises(ValueError, match="method fo cannot use censored observations"):
        nlme.objective(Decay(), Decay().parameters([1.0], 1.0, nlme.Additive(1.0)), records(0.0), method="fo")


class Level(nlme.ClosedFormModel):
    """y = a + η."""

    fixed_effects: ClassVar = {"a": "real"}
    random_effects = ("eta",)

    def individual(self, theta, eta, covariates):
        return {"a": theta["a"] + eta[0]}

    def closed_form(self, time_h, doses, p):
        return p["a"] + 0.0 * time_h


def test_a_fit_to_censored_records_is_the_maximum_of_its_likelihood(tmp_path):
    """Against the integral over η by a fine sum, and its maximum by Nelder and Mead."""
    draw, limit = np.random.default_rng(4), 0.3
    y = 1.0 + draw.normal(0, 0.8, (40, 1)) + draw.normal(0, 0.5, (40, 4))
    censored = y < limit
    rows = [
        f"{i},{t},{limit if censored[i, t] else y[i, t]},{int(censored[i, t])}"
        for i in range(40)
        for t in range(4)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["ID,TIME,DV,CENS", *rows]) + "\n")
    start = Level().parameters([0.5], 0.3, nlme.Additive(0.8))
    fit = nlme.fit_population(Level(), nlme.read_nonmem(tmp_path / "t.csv"), start, method="laplacei")
    node = np.linspace(-6, 6, 241)

    def minus_two_log_likelihood(x):
        a, omega, sd = x[0], np.exp(x[1]), np.exp(x[2])
        f = (a + omega * node)[:, None, None]
        terms = np.where(censored, norm.logcdf((limit - f) / sd), norm.logpdf(y, f, sd)).sum(axis=2)
        return -2 * np.sum(logsumexp(terms + norm.logpdf(node)[:, None], axis=0) + np.log(node[1] - node[0]))

    best = minimize(
        minus_two_log_likelihood, [1.0, -0.2, -0.7], method="Nelder-Mead", options={"xatol": 1e-6}
    )
    assert fit.converged and 0.1 < censored.mean() < 0.4
    estimates = [fit.parameters.theta["a"], fit.parameters.omega[0, 0] ** 0.5, fit.parameters.residual.sd]
    here = [estimates[0], *np.log(estimates[1:])]
    # Laplace's approximation is not exact for censored terms.
    assert fit.minus_two_log_likelihood == pytest.approx(minus_two_log_likelihood(here), abs=1.0)
    np.testing.assert_allclose(here, best.x, atol=0.02)
    exact = nlme.adaptive_quadrature(Level(), fit.parameters, nlme.read_nonmem(tmp_path / "t.csv"), points=15)
    constant = np.log(2 * np.pi) * (~censored).sum()
    assert exact.sum() + constant == pytest.approx(minus_two_log_likelihood(here), abs=1e-3)
