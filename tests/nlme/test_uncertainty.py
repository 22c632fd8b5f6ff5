"""Bounds, priors, likelihood profiles and the bootstrap of a model whose likelihood is known exactly."""

from typing import ClassVar

import numpy as np
import pytest
from scipy.optimize import brentq, minimize
from scipy.stats import chi2, multivariate_normal

from covary import nlme
from covary.errors import UserError

TIMES = np.arange(4.0)


class Line(nlme.ClosedFormModel):
    """y = a + η + b t: records are jointly normal."""

    fixed_effects: ClassVar = {"a": "real", "b": "positive"}
    random_effects = ("eta",)

    def individual(self, theta, eta, covariates):
        return {"a": theta["a"] + eta[0], "b": theta["b"]}

    def closed_form(self, time_h, doses, p):
        return p["a"] + p["b"] * time_h


MODEL = Line()
START = MODEL.parameters([1.8, 0.9], 0.5, nlme.Additive(0.4))


def deviance(x, y):
    """−2 ln L − n ln 2π of (a, ln b, ln ω, ln σ)."""
    covariance = np.exp(2 * x[2]) + np.exp(2 * x[3]) * np.eye(4)
    mean = x[0] + np.exp(x[1]) * TIMES
    return -2 * multivariate_normal(mean, covariance).logpdf(y).sum() - y.size * np.log(2 * np.pi)


def lowest(y, extra=lambda x: 0.0, fixed=None):
    """The minimum of the deviance and something, with `a` at a value or not."""
    start = START.to_vector()

    def function(x):
        x = x if fixed is None else np.concatenate([[fixed], x])
        return deviance(x, y) + extra(x)

    options = {"gtol": 1e-8}
    return minimize(function, start if fixed is None else start[1:], method="BFGS", options=options)


@pytest.fixture(scope="module")
def records():
    rng = np.random.default_rng(6)
    y = 2.0 + TIMES + rng.normal(0, 0.8, (16, 1)) + rng.normal(0, 0.5, (16, 4))
    return nlme.Records.of(nlme.Design.regular(TIMES, n_subjects=16), y)


@pytest.fixture(scope="module")
def fit(records):
    return nlme.fit_population(MODEL, records, START)


def test_priors_add_to_the_deviance(records):
    priors = {"a": nlme.Prior(3.0, 0.2), "b": nlme.Prior(0.5, 0.1), "residual sd": nlme.Prior(0.3, 0.1)}
    found = nlme.fit_population(MODEL, records, START, priors=priors)

    def extra(x):
        z = (x[0] - 3.0) / 0.2, (x[1] - np.log(0.5)) / 0.1, (x[3] - np.log(0.3)) / 0.1
        return sum(v**2 for v in z)

    expected = lowest(records.observation, extra)
    assert found.converged
    assert found.objective == pytest.approx(expected.fun, abs=1e-5)
    np.testing.assert_allclose(found.parameters.to_vector(), expected.x, atol=1e-4)
    assert found.minus_two_log_likelihood == pytest.approx(
        deviance(expected.x, records.observation) + 64 * np.log(2 * np.pi), abs=1e-3
    )
    # Of a parameter with a narrow prior the prior is all that is known.
    narrow = nlme.fit_population(MODEL, records, START, priors={"a": nlme.Prior(3.0, 1e-3)})
    assert narrow.standard_errors()[0] == pytest.approx(1e-3, rel=0.01)


def test_bounds(records, fit):
    wide = nlme.fit_population(MODEL, records, START, bounds={"a": (0.0, 5.0), "b": (0.1, 10.0)})
    assert wide.converged and wide.objective == pytest.approx(fit.objective, abs=1e-5)
    np.testing.assert_allclose(wide.standard_errors(), fit.standard_errors(), rtol=1e-3)
    low = nlme.fit_population(MODEL, records, START, bounds={"a": (1.5, 1.9)})
    expected = lowest(records.observation, fixed=1.9)
    assert low.converged and "a is at its bound 1.9" in low.verdict
    assert low.objective == pytest.approx(expected.fun, abs=5e-3)
    assert low.parameters.theta["a"] == pytest.approx(1.9, abs=1e-3)
    assert np.isnan(low.standard_errors()[0]) and low.standard_errors()[1] > 0
    one_sided = nlme.fit_population(MODEL, records, START, bounds={"a": (-np.inf, 1.9)})
    assert one_sided.objective == pytest.approx(expected.fun, abs=5e-3)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"bounds": {"c": (0, 1)}}, "bounds can be of a, b, residual sd, got c"),
        ({"bounds": {"a": (2.0, 3.0)}}, "initial value of a must lie between its bounds 2 and 3, got 1.8"),
        ({"priors": {"omega(eta,eta)": nlme.Prior(1.0, 1.0)}}, "priors can be of a, b, residual sd, got om"),
        ({"priors": {"b": nlme.Prior(-1.0, 1.0)}}, "prior of b must have a centre in its range"),
        ({"fixed": ("a",), "priors": {"a": nlme.Prior(1.0, 1.0)}}, "priors can be of b, residual sd, got a"),
    ],
)
def test_wrong_bounds_and_priors(records, choice, message):
    with pytest.raises(ValueError, match=message):
        nlme.fit_population(MODEL, records, START, **choice)


def test_profile_is_that_of_the_exact_likelihood(records, fit):
    heard = []
    profile = nlme.likelihood_profile(fit, records, "a", report=lambda *now: heard.append(now))
    best = lowest(records.observation)

    def excess(a):
        return lowest(records.observation, fixed=a).fun - best.fun - chi2.ppf(0.95, 1)

    np.testing.assert_allclose(profile.low, brentq(excess, best.x[0] - 2, best.x[0]), atol=2e-3)
    np.testing.assert_allclose(profile.high, brentq(excess, best.x[0], best.x[0] + 2), atol=2e-3)
    assert profile.low < profile.estimate < profile.high and len(heard) == len(profile.points)
    with pytest.raises(ValueError, match=r"a profile can be of a, b, .*, got c"):
        nlme.likelihood_profile(fit, records, "c")


def test_bootstrap_draws_subjects(records, fit):
    heard = []
    table = nlme.bootstrap(fit, records, 7, replicates=24, report=lambda i, _: heard.append(i))
    assert heard == list(range(24)) and table["converged"].mean() > 0.9
    again = nlme.bootstrap(fit, records, 7, replicates=2)
    assert again.equals(table[:2])
    # The bootstrap estimates the same errors as the sandwich.
    errors = dict(zip(fit.parameters.natural(), fit.standard_errors("sandwich"), strict=True))
    for name in ("a", "b"):
        assert table[name].std() == pytest.approx(errors[name], rel=0.35)
    with pytest.raises(ValueError, match="replicates must be ≥ 1"):
        nlme.bootstrap(fit, records, 7, replicates=0)


def test_a_fit_that_was_stopped_did_not_converge(records):
    stopped = nlme.fit_population(MODEL, records, START, max_iterations=1, covariance=False)
    assert not stopped.converged and "stopped after 1 iterations" in stopped.verdict
    assert "not converged" in repr(stopped)


def test_profiles_and_bootstrap_keep_the_priors_of_the_fit(records):
    fit = nlme.fit_population(MODEL, records, START, priors={"b": nlme.Prior(0.8, 0.02)})

    def extra(x):
        return ((x[1] - np.log(0.8)) / 0.02) ** 2

    profile = nlme.likelihood_profile(fit, records, "a")
    for end in (profile.low, profile.high):
        there = lowest(records.observation, lambda x: extra(np.array([0.0, *x[1:]])), fixed=end)
        assert there.fun - fit.objective == pytest.approx(3.841, abs=0.05)
    drawn = nlme.bootstrap(fit, records, seed=1, replicates=3)
    assert (abs(np.log(drawn["b"] / 0.8)) < 3 * 0.02).all()
    with pytest.raises(UserError, match="a profile can be of a, "):
        nlme.likelihood_profile(fit, records, "b")
