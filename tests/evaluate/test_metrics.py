import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.special import ndtr
from sklearn.metrics import r2_score

from covary import nlme, rng
from covary.evaluate import conditional_nll, crps, mean_squared_error, r2
from covary.evaluate.metrics import within_ensemble_interval

tables = arrays(np.float64, (7, 3), elements=st.floats(-1e3, 1e3), unique=True)


def test_known_arrays():
    reference = np.array([[0.0, 2.0], [4.0, 6.0]])  # mean 3, SS_tot 20
    estimate = np.array([[1.0, 2.0], [4.0, 4.0]])  # SS_res 5
    assert mean_squared_error(reference, estimate) == pytest.approx(5 / 4)
    assert r2(reference, estimate) == pytest.approx(1 - 5 / 20)


def test_r2_is_around_one_mean_pooled_over_random_effects():
    # Each column is predicted by its own mean: 0 around column means, but not around the pooled one.
    reference = np.array([[0.0, 10.0], [2.0, 12.0]])
    estimate = np.array([[1.0, 11.0], [1.0, 11.0]])
    assert r2(reference, estimate) == pytest.approx(1 - 4 / 104)


@given(tables, tables)
def test_r2_and_mse_match_their_definitions(reference, estimate):
    assert mean_squared_error(reference, estimate) == pytest.approx(np.mean((reference - estimate) ** 2))
    assert r2(reference, estimate) == pytest.approx(r2_score(reference.ravel(), estimate.ravel()), rel=1e-6)


@given(tables, st.floats(-1e6, 1e6))
def test_the_mean_explains_nothing_and_the_truth_everything(reference, shift):
    assert r2(reference, reference) == 1.0
    moved = reference + shift
    assert r2(moved, np.full_like(moved, moved.mean())) == pytest.approx(0.0, abs=1e-6)


def test_nll_of_one_observation_is_that_of_the_normal_density():
    found = conditional_nll(np.array([[1.03]]), np.array([[1.0]]), nlme.Additive(0.01))
    assert found[0] == pytest.approx(0.5 * 3**2 + 0.5 * math.log(2 * math.pi) + math.log(0.01))


def test_expected_nll_of_the_truth_is_minus_67():
    n, t, sd = 20_000, 21, 0.01
    error = sd * rng.normal(1, "error", 0, n, (t,))
    nll = conditional_nll(0.3 + error, np.full((n, t), 0.3), nlme.Additive(sd))
    expected = t * (0.5 * math.log(2 * math.pi) + math.log(sd) + 0.5)
    assert expected == pytest.approx(-66.91, abs=0.01)
    # χ² with 21 degrees of freedom over 2: variance 21/2 for each subject.
    assert nll.mean() == pytest.approx(expected, abs=4 * (t / 2 / n) ** 0.5)
    assert nll.var() == pytest.approx(t / 2, rel=0.1)


def test_nll_of_other_residual_errors_is_that_of_their_densities():
    y, f = np.array([[1.1, 0.4], [2.0, 3.0]]), np.array([[1.0, 0.5], [2.5, 2.0]])
    expected = {
        nlme.Proportional(0.2): stats.norm(f, 0.2 * f).logpdf(y),
        nlme.Combined(0.1, 0.2): stats.norm(f, np.hypot(0.1, 0.2 * f)).logpdf(y),
        nlme.LogNormal(0.3): stats.lognorm(0.3, scale=f).logpdf(y),
    }
    for residual, density in expected.items():
        np.testing.assert_allclose(conditional_nll(y, f, residual), -density.sum(axis=1), rtol=1e-12)


def test_crps_of_a_normal_ensemble_is_that_of_the_normal_distribution():
    n, draws = 3_000, 50
    ensemble = rng.normal(1, "ensemble", 0, n, (draws, 1))
    observation = rng.normal(1, "observation", 0, n, (1,))
    z = observation[:, 0]
    pdf = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    exact = z * (2 * ndtr(z) - 1) + 2 * pdf - 1 / math.sqrt(math.pi)
    found = crps(observation, ensemble)[:, 0]
    assert found.mean() == pytest.approx(exact.mean(), abs=4 * (found - exact).std() / n**0.5)
    # The estimator is fair: two draws estimate the same as fifty.
    few = crps(observation, ensemble[:, :2])[:, 0]
    assert few.mean() == pytest.approx(exact.mean(), abs=4 * (few - exact).std() / n**0.5)


def test_crps_by_its_definition():
    observation, ensemble = np.array([[0.5]]), np.array([[[0.0], [1.0], [3.0]]])
    # E|X - y| = (0.5 + 0.5 + 2.5)/3; E|X - X'| over unequal pairs = (1 + 3 + 2)/3.
    assert crps(observation, ensemble)[0, 0] == pytest.approx(3.5 / 3 - 0.5 * 2.0)
    shared = crps(np.array([[0.5], [0.5]]), ensemble)
    np.testing.assert_allclose(shared, 3.5 / 3 - 1.0)


def test_ranks_in_the_ensemble_are_uniform_under_the_same_distribution():
    n, draws = 8_000, 39
    ensemble = rng.normal(1, "ensemble", 0, n, (draws, 1))
    observation = rng.normal(1, "observation", 0, n, (1,))
    for level in (0.5, 0.8, 0.95):
        inside = within_ensemble_interval(observation, ensemble, level)
        assert inside.mean() == pytest.approx(level, abs=4 * (level * (1 - level) / n) ** 0.5)
