"""Variational fits and evidence, against closed forms."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from linear_models import Line

from covary import nlme
from covary.errors import UserError
from covary.nlme import variational
from covary.nlme.encoder import Scales
from covary.nlme.evidence import difference, evidence, first_visits
from covary.nlme.solvers.lanes import DEFAULT
from covary.nlme.variational import bound_of, fit_variational, variational_posterior

TIMES = np.arange(4.0)
X = np.stack([np.ones(4), TIMES], axis=1)


@pytest.fixture(scope="module")
def line():
    model = Line()
    parameters = model.parameters([1.0, -0.5], [[0.5, 0.2], [0.2, 0.3]], nlme.Additive(0.4))
    eta = np.random.default_rng(1).multivariate_normal([0.0, 0.0], parameters.omega, 12)
    design = nlme.Design.regular(TIMES, n_subjects=12)
    observation = nlme.simulate(model, parameters, eta, design, 1).observation
    return model, parameters, nlme.Records.of(design, observation)


def log_density(parameters, observation, times=slice(None)):
    """ln p(y) of each subject in closed form."""
    x = X[times]
    covariance = x @ parameters.omega @ x.T + parameters.residual.sd**2 * np.eye(len(x))
    deviation = observation[:, times] - x @ [parameters.theta["a"], parameters.theta["b"]]
    square = np.einsum("si,ij,sj->s", deviation, np.linalg.inv(covariance), deviation)
    return -0.5 * (square + np.linalg.slogdet(covariance)[1] + len(x) * np.log(2 * np.pi))


def test_every_estimate_of_a_linear_models_evidence_is_the_closed_form(line):
    model, parameters, records = line
    found = evidence(model, parameters, records, draws=1024)
    exact = log_density(parameters, records.observation)
    for method in ("foce", "laplace", "quadrature", "elbo", "iwae"):
        np.testing.assert_allclose(found.value[method], exact, atol=2e-6, err_msg=method)
    error = found.error["importance_sampling"].to_numpy()
    assert np.all(np.abs(found.value["importance_sampling"] - exact) < 5 * error + 1e-6)
    assert "elbo" in repr(found)


def test_the_second_half_given_the_first(line):
    model, parameters, records = line
    whole, first = (
        evidence(model, parameters, some, methods=("laplace",)).value["laplace"]
        for some in (records, first_visits(records, 2))
    )
    exact = log_density(parameters, records.observation)
    early = log_density(parameters, records.observation, slice(2))
    np.testing.assert_allclose(whole - first, exact - early, atol=1e-6)


def test_independent_random_effects_cost_what_their_correlation_says(line):
    model, parameters, records = line
    exact = log_density(parameters, records.observation)
    precision = X.T @ X / parameters.residual.sd**2 + np.linalg.inv(parameters.omega)
    r = precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1])
    q = variational_posterior(model, parameters, records, mean_field=True, evaluation_draws=8).posterior
    assert np.all(q.factor[:, 1, 0] == 0)
    # The bound of a normal q is known: no draws.
    residual = records.observation - (X @ [1.0, -0.5]) - q.mean @ X.T
    covariance = q.covariance()
    inverse = np.linalg.inv(parameters.omega)
    quadratic = (residual**2).sum(1) / 0.16 + np.einsum("ti,sij,tj->s", X, covariance, X) / 0.16
    prior = np.einsum("ij,sij->s", inverse, covariance + q.mean[:, :, None] * q.mean[:, None])
    bound = -0.5 * (
        quadratic + prior + 4 * np.log(2 * np.pi * 0.16) + np.linalg.slogdet(parameters.omega)[1]
    ) + 0.5 * (2 + np.linalg.slogdet(covariance)[1])
    np.testing.assert_allclose(2 * (exact - bound), -np.log(1 - r**2), atol=1e-5)
    # More draws of the same q come closer to ln p, from below.
    rising = [
        np.mean([bound_of(model, parameters, records, q, n_draws=k, seed=s).iwae.sum() for s in range(20)])
        for k in (2, 16)
    ]
    last = bound_of(model, parameters, records, q, n_draws=4096).iwae.sum()
    assert bound.sum() < rising[0] < rising[1] < last < exact.sum() + 0.1
    assert last == pytest.approx(exact.sum(), abs=0.5)


def test_a_variational_fit_of_a_linear_model_is_maximum_likelihood(line):
    model, _, records = line
    start = model.parameters([0.5, 0.0], [[0.7, 0.1], [0.1, 0.7]], nlme.Additive(0.6))
    fit = nlme.fit_population(model, records, start, method="elbo")
    exact = nlme.fit_population(model, records, start)
    assert -2 * fit.bound.elbo.sum() == pytest.approx(exact.minus_two_log_likelihood, abs=1e-3)
    found, expected = (np.array(list(f.parameters.natural().values())) for f in (fit, exact))
    np.testing.assert_allclose(found, expected, atol=5e-3)
    assert "ELBO" in repr(fit) and "OFV" not in repr(fit)


def test_a_bound_is_never_above_the_quadrature():
    records = nlme.read_nonmem(Path(__file__).parents[1] / "data" / "theoph_nonmem.csv")
    model = nlme.OneCompartmentOral()
    found = evidence(
        model, model.default_parameters(), records, methods=("quadrature", "elbo", "iwae"), points=9
    )
    gap = found.value["quadrature"] - found.value["elbo"]
    assert np.all(gap > -4 * found.error["elbo"]) and 0 < gap.sum() < 2
    assert np.all(found.value["iwae"] - found.value["quadrature"] < 5 * found.error["iwae"] + 1e-3)


def test_draws_are_those_of_the_seed_and_the_subject(line):
    model, parameters, records = line
    few = variational_posterior(model, parameters, records[:5], evaluation_draws=16).bound
    all_ = variational_posterior(model, parameters, records, evaluation_draws=16).bound
    np.testing.assert_allclose(few.iwae, all_.iwae[:5], atol=1e-5)


@pytest.mark.parametrize("encoder_width", [None, 3])
def test_the_gradient_of_the_bound_equals_differences(encoder_width):
    """In population parameters, weights, and posteriors or their encoder; Ω is optimal on both sides."""
    model = nlme.LatentRecord(2, width=3, time_scale_h=3.0)
    design = nlme.Design.regular(TIMES, n_subjects=5)
    records = nlme.Records.of(design, np.outer(np.linspace(-1, 1, 5), np.sin(TIMES)))
    problem = variational._problem(model, model.default_parameters(), records, Scales.of(records))
    start, back = ravel_pytree(jax.tree.map(jnp.asarray, variational._start(problem, encoder_width)))
    random = np.random.default_rng(1)
    x = start + 0.3 * random.normal(size=start.size)
    noise = jnp.asarray(variational._matched(random.normal(size=(5, 6, 2))))

    def at(x):
        value, slope = variational._fixed_draws(DEFAULT, problem, back(x), noise, True)
        return float(value), ravel_pytree(slope)[0]

    slope = at(x)[1]
    for _ in range(3):
        u, h = random.normal(size=x.size), 1e-3
        coarse, fine = ((at(x + h * u)[0] - at(x - h * u)[0]) / (2 * h) for h in (h, h / 2))
        assert float(slope @ u) == pytest.approx((4 * fine - coarse) / 3, rel=1e-6)


def test_a_network_is_fitted_in_batches(caplog):
    model = nlme.LatentRecord(1, width=3, prior_sd=np.inf, time_scale_h=3.0)
    design = nlme.Design.regular(TIMES, n_subjects=7)
    curves = np.outer(np.linspace(-1, 1, 7), np.sin(TIMES))
    fit = fit_variational(
        model, nlme.Records.of(design, curves), model.default_parameters(),
        steps=300, batch=3, final_draws=8, final_steps=50, evaluation_draws=32,
    )  # fmt: skip
    error = nlme.predictions(fit.model, fit.parameters, fit.posterior.mean, design) - curves
    assert np.sqrt(np.mean(error**2)) < 0.15
    assert not caplog.records  # 25 weights, 28 observations


@pytest.mark.slow
def test_held_out_subjects_end_a_fit_before_a_network_learns_the_noise():
    """Six subjects, a wide network without a prior, half as much noise as signal."""
    model = nlme.LatentRecord(1, width=10, prior_sd=np.inf, time_scale_h=3.0)
    design, random = nlme.Design.regular(TIMES, n_subjects=6), np.random.default_rng(3)

    def some():
        curves = np.outer(random.normal(size=6), np.sin(TIMES))
        return nlme.Records.of(design, curves + 0.3 * random.normal(size=curves.shape))

    training, held_out, new = some(), some(), some()
    whole, early = (
        fit_variational(
            model, training, model.default_parameters(), steps=200, final_draws=8, final_steps=600,
            evaluation_draws=32, held_out=held_out if watched else None,
        )
        for watched in (False, True)
    )  # fmt: skip
    assert early.verdict.startswith("stopped where held-out subjects are best")
    evidence_of_new = [
        nlme.evidence(fit.model, fit.parameters, new, methods=("quadrature",), points=21).value.sum().item()
        for fit in (whole, early)
    ]
    assert evidence_of_new[1] > evidence_of_new[0] + 5


def test_a_posterior_of_the_draws_of_the_search_alone_is_not_called_converged():
    """Two draws per subject are too few: q makes the bound large on these and on no others."""
    model = nlme.LatentRecord(1, width=3, prior_sd=np.inf, time_scale_h=3.0)
    times = np.linspace(0.5, 10, 8)
    design = nlme.Design.regular(times, n_subjects=7)
    records = nlme.Records.of(design, np.outer(np.linspace(-1, 1, 7), np.sin(times)))
    fit = fit_variational(
        model, records, model.default_parameters(), steps=300, final_draws=2, final_steps=600
    )  # fmt: skip
    assert not fit.converged
    assert "on other draws the bound is lower by" in fit.verdict


def test_bad_input_is_one_line(line, caplog):
    model, parameters, records = line
    with pytest.raises(UserError, match=r"methods of evidence are .*, got waic"):
        evidence(model, parameters, records, methods=("waic",))
    with pytest.raises(UserError, match="bounds, priors and fixed are not used by method elbo"):
        nlme.fit_population(model, records, parameters, method="elbo", fixed=("a",))
    with pytest.raises(UserError, match="the same subjects, two or more, got 1 and 1"):
        difference(np.zeros(1), np.zeros(1))

    class Broken(Line):
        def closed_form(self, time_h, doses, p):
            return jnp.log(-jnp.exp(p["a"]) * time_h)

    with pytest.raises(UserError, match="the bound is not a finite number at the initial values"):
        fit_variational(Broken(), records, parameters, steps=100)
    wide = nlme.LatentRecord(1, width=7, prior_sd=np.inf)
    fit_variational(
        wide, records, wide.default_parameters(), steps=0, final_draws=4, final_steps=1, evaluation_draws=4
    )
    assert "weights without a prior are more than the 48 observations" in caplog.text


def test_paired_differences():
    a, b = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.5, 2.0, 4.5])
    found = difference(a, b)
    assert found.sum == pytest.approx(2.0)
    assert found.low < 2.0 < found.high
    assert found.high - found.low == pytest.approx(2 * 3.182446 * np.std(a - b, ddof=1) * 2)
