"""Simulation, empirical Bayes, population fit and posterior draws on the paper's model and on users'
models."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
from designs import ORAL_TIMES_H, PAPER_TIMES_H
from scipy.optimize import minimize

from covary import nlme, rng
from covary.nlme.fit import _Objective

MODEL = nlme.SaturableElimination()
TRUTH = MODEL.default_parameters()
ORAL = nlme.OneCompartmentOral()


class Logistic(nlme.ClosedFormModel):
    """Growth of trees: Asym / (1 + exp(−(t − xmid)/scal)), η on Asym and xmid, additive on the natural
    scale."""

    fixed_effects: ClassVar = {"Asym": "positive", "xmid": "real", "scal": "positive"}
    random_effects = ("eta_Asym", "eta_xmid")

    def individual(self, theta, eta, covariates):
        return {"Asym": theta["Asym"] + eta[0], "xmid": theta["xmid"] + eta[1], "scal": theta["scal"]}

    def closed_form(self, time_h, doses, p):
        return p["Asym"] / (1 + jnp.exp(-(time_h - p["xmid"]) / p["scal"]))


class Linear(nlme.ClosedFormModel):
    """y = a + η₁ + (b + η₂) t: every approximation of its marginal likelihood is exact."""

    fixed_effects: ClassVar = {"a": "real", "b": "real"}
    random_effects = ("eta_a", "eta_b")

    def individual(self, theta, eta, covariates):
        return {"a": theta["a"] + eta[0] + 0.5 * covariates["wt"], "b": theta["b"] + eta[1]}

    def closed_form(self, time_h, doses, p):
        return p["a"] + p["b"] * time_h


def paper_records(n, seed=1, parameters=TRUTH):
    eta = rng.normal(seed, "eta", 0, n, (3,))
    design = nlme.Design.regular(PAPER_TIMES_H, n_subjects=n, dose=1.0)
    return eta, nlme.Records.of(design, nlme.simulate(MODEL, parameters, eta, design, seed).observation)


def linear_problem(n=40):
    omega = np.array([[1.0, -0.3], [-0.3, 0.5]])
    covariates = {"wt": np.linspace(-1, 1, n)}
    design = nlme.Design.regular(np.linspace(0, 4, 6), n_subjects=n, covariates=covariates)
    parameters = Linear().parameters([2.0, -1.0], omega, nlme.Additive(0.4))
    eta = rng.normal(2, "eta", 0, n, (2,)) @ np.linalg.cholesky(omega).T
    observation = nlme.simulate(Linear(), parameters, eta, design, 2).observation
    observation[0, 3:] = np.nan
    return parameters, nlme.Records.of(design, observation, missing_as_nan=True)


def test_simulation_of_a_range_does_not_depend_on_how_it_is_cut():
    eta = rng.normal(1, "eta", 0, 100, (3,))

    def simulate(start, stop):
        design = nlme.Design.regular(PAPER_TIMES_H, n_subjects=stop - start, dose=1.0)
        return nlme.simulate(MODEL, TRUTH, eta[start:stop], design, 7, subjects=range(start, stop))

    whole, parts = simulate(0, 100), [simulate(0, 37), simulate(37, 100)]
    np.testing.assert_array_equal(whole.prediction, np.concatenate([p.prediction for p in parts]))
    np.testing.assert_array_equal(whole.observation, np.concatenate([p.observation for p in parts]))
    residual = whole.observation - whole.prediction
    assert np.std(residual) == pytest.approx(0.01, rel=0.05) and abs(residual.mean()) < 0.001


@pytest.mark.parametrize("n", [1, 3])
def test_simulated_errors_have_the_variance_of_their_model(n):
    design = nlme.Design.regular([0.0, 1.0], n_subjects=4000)
    model = Logistic()
    eta = np.zeros((4000, 2))
    for residual in (
        nlme.Additive(0.5),
        nlme.Proportional(0.1),
        nlme.Combined(0.5, 0.1),
        nlme.LogNormal(0.2),
    ):
        parameters = model.parameters([5.0 * n, 0.0, 1.0], 1.0, residual)
        simulation = nlme.simulate(model, parameters, eta, design, 3)
        deviation = np.asarray(residual.transform(simulation.observation)) - np.asarray(
            residual.transform(simulation.prediction)
        )
        expected = np.asarray(residual.variance(simulation.prediction[0]))
        np.testing.assert_allclose(deviation.var(axis=0), expected, rtol=0.1)


def test_empirical_bayes_of_the_paper_model():
    eta, records = paper_records(4000, seed=21)
    modes = nlme.empirical_bayes(MODEL, TRUTH, records)
    assert np.mean(modes.status == nlme.Status.CONVERGED) > 0.998
    # The others are as near to their modes as the solver's noise in the gradient allows.
    assert np.mean(modes.gradient_norm[modes.status == nlme.Status.CONVERGED] <= 1e-5) > 0.998
    assert 1 - np.mean((eta - modes.eta) ** 2) / eta.var() == pytest.approx(0.695, abs=0.02)
    assert np.linalg.eigvalsh(modes.precision).min() > 0


def test_modes_are_global():
    eta, records = paper_records(500, seed=5)
    modes = nlme.empirical_bayes(MODEL, TRUTH, records)
    # No point of a fine cloud, nor the truth, is better.
    design = records.design
    cloud = np.concatenate([eta[None], rng.normal(9, "cloud", 0, 40, (500, 3))])
    for points in cloud:
        f = nlme.predictions(MODEL, TRUTH, points, design)
        phi = (
            0.5 * np.sum(((records.observation - f) / 0.01) ** 2, axis=1)
            + 21 * np.log(0.01)
            + 0.5 * np.sum(points**2, 1)
        )
        assert np.all(modes.objective <= phi + 1e-6)


def test_modes_do_not_depend_on_batch_or_order():
    _, records = paper_records(150, seed=3)
    whole = nlme.empirical_bayes(MODEL, TRUTH, records)
    order = np.random.default_rng(0).permutation(150)
    shuffled = nlme.empirical_bayes(MODEL, TRUTH, records[order])
    np.testing.assert_array_equal(shuffled.eta, whole.eta[order])
    np.testing.assert_array_equal(shuffled.precision, whole.precision[order])
    part = nlme.empirical_bayes(MODEL, TRUTH, records[:7])
    np.testing.assert_array_equal(part.eta, whole.eta[:7])


def test_a_mode_whose_gradient_is_noise_of_the_solver_is_a_mode():
    """The record is so precise that the solver's noise in the gradient may exceed 1e-5."""
    y = np.array([[
        0.0132991616, 0.475220650, 0.456318766, 0.290888757, 0.127401814, 0.0289584957, -0.0162346270,
        0.0237335898, 0.00379297184, -0.00190113718, -0.0103495857, 0.00720429979, -0.00221604761,
        0.00241939398, -0.0158601962, 0.0139081907, 0.000359853264, -0.00465630135, -0.0133262845,
        -0.00571808498, -0.00410841173,
    ]])  # fmt: skip
    theta = {"tvKa": 1.015502558213138, "tvImax": 2.036083482686646, "tvIC50": 0.37868175504670043}
    omega = np.diag([0.95596256, 0.9775883, 1.15614858])
    parameters = MODEL.parameters(theta, omega=omega, residual=nlme.Additive(0.010044678272241718))
    records = nlme.Records.of(nlme.Design.regular(PAPER_TIMES_H, n_subjects=1, dose=1.0), y)
    modes = nlme.empirical_bayes(MODEL, parameters, records, interaction=False)
    assert modes.status[0] == nlme.Status.CONVERGED
    np.testing.assert_allclose(modes.eta, [[0.8126, -1.2103, -1.1268]], atol=1e-3)


@pytest.fixture
def two_modes():
    """A record whose first search ends on a ridge, far from the mode at η = (−0.754, −2.694, −1.195)."""
    y = np.array([[
        -0.000461332995, 0.182057918, 0.308742523, 0.387115657, 0.425911039, 0.473209620, 0.485829025,
        0.478714615, 0.463980079, 0.465228587, 0.438511610, 0.410897285, 0.377624452, 0.326325566,
        0.284521103, 0.251624793, 0.224148482, 0.188083529, 0.135278106, 0.140671432, 0.0813249648,
    ]])  # fmt: skip
    theta = {"tvKa": 0.9938738632013413, "tvImax": 1.8729295721858206, "tvIC50": 0.3713826436551962}
    omega = np.diag([0.8789335072810743, 0.901373942126623, 0.9664970471308217])
    parameters = MODEL.parameters(theta, omega=omega, residual=nlme.Additive(0.009984963768246709))
    return parameters, nlme.Records.of(nlme.Design.regular(PAPER_TIMES_H, n_subjects=1, dose=1.0), y)


AT_MODE, PHI_AT_MODE = [-0.754122, -2.694468, -1.194853], -82.76607


def test_a_search_that_ends_without_a_mode_starts_elsewhere(two_modes):
    found = nlme.empirical_bayes(MODEL, *two_modes)
    assert found.status[0] == nlme.Status.CONVERGED
    assert found.objective[0] == pytest.approx(PHI_AT_MODE, abs=1e-4)
    np.testing.assert_allclose(found.eta[0], AT_MODE, atol=1e-4)


def test_modes_do_not_depend_on_padding():
    """A ragged design padded with times that nobody observed; it starts from another cloud, so equal to
    tolerance."""
    n, truth = 40, ORAL.default_parameters()
    design = nlme.Design.regular(ORAL_TIMES_H, n_subjects=n, dose=320.0)
    eta = rng.normal(3, "eta", 0, n, (3,)) * np.sqrt(np.diag(truth.omega))
    records = nlme.Records.of(design, nlme.simulate(ORAL, truth, eta, design, 3).observation)
    whole = nlme.empirical_bayes(ORAL, truth, records)
    time = np.concatenate([np.tile(ORAL_TIMES_H, (n, 1)), np.full((n, 3), 24.0)], axis=1)
    observed = np.tile(np.arange(10) < 7, (n, 1))
    dose = [np.tile(v, (n, 1)) for v in (design.dose_time_h, design.dose_amount, design.dose_duration_h)]
    padded = nlme.Design(
        n,
        np.zeros(n),
        time,
        observed,
        *dose,
        np.tile(design.dose_compartment, (n, 1)),
        np.ones((n, 10), int),
        {},
    )
    observation = np.concatenate([records.observation, np.full((n, 3), np.nan)], axis=1)
    ragged = nlme.empirical_bayes(ORAL, truth, nlme.Records.of(padded, observation))
    np.testing.assert_allclose(ragged.eta, whole.eta, atol=1e-5)


def test_precision_is_the_hessian_of_the_joint_density():
    _, records = paper_records(1, seed=8)
    modes = nlme.empirical_bayes(MODEL, TRUTH, records)

    def phi(eta):
        f = nlme.predictions(MODEL, TRUTH, eta[None], records.design)[0]
        return 0.5 * np.sum(((records.observation[0] - f) / 0.01) ** 2) + 0.5 * eta @ eta

    h = 1e-3 * np.eye(3)
    e = modes.eta[0]
    numeric = [
        [(phi(e + a + b) - phi(e + a - b) - phi(e - a + b) + phi(e - a - b)) / 4e-6 for b in h] for a in h
    ]
    np.testing.assert_allclose(
        modes.precision[0], numeric, rtol=0.02, atol=0.05 * np.abs(modes.precision).max() ** 0.5
    )


def test_linear_model_is_exact_under_every_method():
    parameters, records = linear_problem()
    t = records.design.time_h[0]
    x = np.stack([np.ones(6), t], axis=1)
    exact = []
    for i in range(records.design.n_subjects):
        keep = records.present[i]
        c = (x @ parameters.omega @ x.T + 0.16 * np.eye(6))[np.ix_(keep, keep)]
        mean = x @ [2.0, -1.0] + 0.5 * records.design.covariates["wt"][i]
        d = (records.observation[i] - mean)[keep]
        exact.append(np.linalg.slogdet(c)[1] + d @ np.linalg.solve(c, d))
    for method in ("fo", "foce", "focei", "laplace", "laplacei"):
        found = nlme.objective(Linear(), parameters, records, method=method).ofv
        np.testing.assert_allclose(found, exact, atol=1e-8, err_msg=method)
    np.testing.assert_allclose(
        nlme.adaptive_quadrature(Linear(), parameters, records, points=3), exact, atol=1e-8
    )


# One case per kind of formula; between them lie the others. The compiler takes most of the time of a case.
@pytest.mark.parametrize(
    ("model", "method"),
    [
        (ORAL, "fo"),
        (Logistic(), "foce"),
        pytest.param(MODEL, "foce", marks=pytest.mark.slow),
        *(
            pytest.param(ORAL, method, marks=pytest.mark.slow)
            for method in ("foce", "focei", "laplace", "laplacei")
        ),
    ],
)
def test_outer_gradient_agrees_with_differences(model, method):
    k = len(model.random_effects)
    parameters = model.parameters([1.1, 2.0, 0.5], [0.8, 0.5, 0.6][:k], nlme.Combined(0.02, 0.1))
    eta = rng.normal(1, "eta", 0, 6, (k,))
    design = nlme.Design.regular(PAPER_TIMES_H, n_subjects=6, dose=1.0)
    records = nlme.Records.of(design, nlme.simulate(model, parameters, eta, design, 1).observation)
    start = parameters.to_vector()

    def at(vector):
        here = parameters.from_vector(vector).concrete()
        return nlme.objective(model, here, records, method=method, gradient=True)

    h = 1e-4
    differences = [
        (at(start + h * e).ofv.sum() - at(start - h * e).ofv.sum()) / (2 * h) for e in np.eye(len(start))
    ]
    np.testing.assert_allclose(at(start).gradient.sum(axis=1), differences, rtol=2e-4, atol=2e-3)


def test_ofv_has_no_memory():
    _, records = paper_records(30)
    other = MODEL.parameters([3.0, 0.5, 1.0], 0.3, nlme.Additive(0.1))
    first = nlme.objective(MODEL, TRUTH, records).ofv
    nlme.objective(MODEL, other, records)
    np.testing.assert_array_equal(nlme.objective(MODEL, TRUTH, records).ofv, first)


def test_population_fit_recovers_the_truth_from_the_reference_start():
    _, records = paper_records(60)
    start = MODEL.parameters([1.0, 1.1, 0.6], 0.2, nlme.Additive(0.1))
    heard = []
    fit = nlme.fit_population(MODEL, records, start, method="foce", report=lambda *now: heard.append(now))
    assert fit.converged, fit.verdict
    table = fit.table().set_index("parameter")
    truth = {name: float(value) for name, value in TRUTH.natural().items()}
    for name, row in table.iterrows():
        assert abs(np.log(row["estimate"] / truth[name])) < 4 * row["se"] / row["estimate"], name
    assert fit.objective == pytest.approx(
        nlme.objective(MODEL, fit.parameters, records, method="foce").ofv.sum()
    )
    assert heard[-1][1] == pytest.approx(fit.objective)


def test_logistic_model_with_full_omega_matches_direct_maximisation():
    model = Logistic()
    truth = model.parameters([190.0, 4.0, 1.2], np.array([[400.0, 3.0], [3.0, 0.2]]), nlme.Proportional(0.05))
    n, times = 40, np.arange(1.0, 9.0)
    design = nlme.Design.regular(times, n_subjects=n)
    eta = rng.normal(4, "eta", 0, n, (2,)) @ np.linalg.cholesky(truth.omega).T
    records = nlme.Records.of(design, nlme.simulate(model, truth, eta, design, 4).observation)
    start = model.parameters([150.0, 3.5, 1.0], np.array([[200.0, 1.0], [1.0, 0.5]]), nlme.Proportional(0.1))
    fit = nlme.fit_population(model, records, start, method="laplacei")
    assert fit.converged, fit.verdict
    assert fit.parameters.theta["Asym"] == pytest.approx(190, rel=0.05)
    assert fit.parameters.theta["xmid"] == pytest.approx(4, rel=0.08)

    def ofv(vector):
        at = start.from_vector(vector).concrete()
        return nlme.objective(model, at, records, method="laplacei", gradient=True).ofv.sum()

    elsewhere = minimize(ofv, fit.parameters.to_vector() + 0.02, method="Nelder-Mead", options={"maxfev": 60})
    assert fit.objective <= elsewhere.fun + 1e-6


@pytest.mark.parametrize("subjects", [60, 400])  # 200 of 400 bring the parameters close first
def test_trial_steps_are_bounded_and_reach_the_optimum_from_near_and_far(monkeypatch, subjects):
    _, records = linear_problem(subjects)
    evaluate = _Objective._evaluate

    def largest_step(omega, sd):
        start = Linear().parameters([2.0, -1.0], np.diag([omega, omega]), nlme.Additive(sd))
        logarithms, seen, largest = start.logarithms(), [], 0.0

        def watched(self, x, near=None):
            nonlocal largest
            largest = max(largest, min((np.abs(x - old)[logarithms].max() for old in seen), default=0.0))
            seen.append(np.array(x))
            return evaluate(self, x, near)

        monkeypatch.setattr(_Objective, "_evaluate", watched)
        fit = nlme.fit_population(Linear(), records, start)
        assert fit.converged, fit.verdict
        assert fit.parameters.residual.sd == pytest.approx(0.4, rel=0.1)
        return largest

    assert 0 < largest_step(100.0, 0.4) <= 2.0
    assert 0 < largest_step(100.0, 40.0) <= 2.0


def test_fixed_parameters_stay():
    parameters, records = linear_problem()
    fit = nlme.fit_population(Linear(), records, parameters, fixed=("b", "residual sd"))
    assert fit.parameters.theta["b"] == -1.0 and fit.parameters.residual.sd == pytest.approx(0.4)
    se = fit.table().set_index("parameter")["se"]
    assert np.isnan(se["b"]) and se["a"] > 0
    with pytest.raises(ValueError, match="there is no parameter nonsense"):
        nlme.fit_population(Linear(), records, parameters, fixed=("nonsense",))


def test_posterior_draws_of_a_normal_posterior():
    parameters, records = linear_problem()
    modes = nlme.empirical_bayes(Linear(), parameters, records)
    draws = nlme.posterior_draws(Linear(), parameters, records, modes, 4000, 1)
    assert np.all(draws.effective_sample_size > 0.4 * 16_000)
    covariance = np.linalg.inv(modes.precision)
    sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    assert np.abs((draws.eta.mean(axis=1) - modes.eta) / sd).max() < 0.1
    for found, expected in zip(draws.eta[:3], covariance, strict=False):
        np.testing.assert_allclose(np.cov(found.T), expected, atol=0.1 * np.abs(expected).max())
    exact = nlme.objective(Linear(), parameters, records, method="foce").ofv
    np.testing.assert_allclose(-2 * draws.log_marginal, exact, atol=0.06)


def test_posterior_draws_are_keyed_by_subject():
    _, records = paper_records(20)
    modes = nlme.empirical_bayes(MODEL, TRUTH, records)
    whole = nlme.posterior_draws(MODEL, TRUTH, records, modes, 16, 1)
    part = type(modes)(*(field[12:] for field in modes))
    tail = nlme.posterior_draws(MODEL, TRUTH, records[12:], part, 16, 1, first_subject=12)
    np.testing.assert_array_equal(whole.eta[12:], tail.eta)


def test_posterior_draws_of_the_paper_model_have_their_moments():
    # The mean of p(η | y) over subjects is that of the prior: E[E[η | y]] = 0 and E[E[η² | y]] = 1.
    eta, records = paper_records(1000, seed=11)
    modes = nlme.empirical_bayes(MODEL, TRUTH, records)
    draws = nlme.posterior_draws(MODEL, TRUTH, records, modes, 32, 1)
    good = draws.effective_sample_size > 0
    assert good.mean() > 0.999
    np.testing.assert_allclose(draws.eta[good].mean(axis=(0, 1)), eta[good].mean(axis=0), atol=0.06)
    np.testing.assert_allclose(
        (draws.eta[good] ** 2).mean(axis=(0, 1)), (eta[good] ** 2).mean(axis=0), atol=0.1
    )
    assert np.median(draws.effective_sample_size) > 0.3 * 128


def test_random_effects_in_other_units():
    """Additive random effects have the unit of their parameter: nothing else depends on it."""
    model, n = Logistic(), 12

    def modes(unit):
        omega = np.array([[400.0, 3.0], [3.0, 0.2]]) * np.array([[unit**2, unit], [unit, 1.0]])
        truth = model.parameters([190.0 * unit, 4.0, 1.2], omega, nlme.Additive(5.0 * unit))
        design = nlme.Design.regular(np.arange(1.0, 9.0), n_subjects=n)
        eta = rng.normal(4, "eta", 0, n, (2,)) @ np.linalg.cholesky(truth.omega).T
        records = nlme.Records.of(design, nlme.simulate(model, truth, eta, design, 4).observation)
        return nlme.empirical_bayes(model, truth, records)

    one = modes(1.0)
    for unit in (1e-7, 1e7):
        other = modes(unit)
        assert (other.status == nlme.Status.CONVERGED).all() and other.gradient_norm.max() <= 1e-5
        np.testing.assert_allclose(other.eta / [unit, 1.0], one.eta, atol=1e-6)
        np.testing.assert_allclose(other.objective - 8 * np.log(unit), one.objective, atol=1e-6)
