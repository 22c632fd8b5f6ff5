import jaxtyping
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covary import rng
from covary.dataset import association

variances = st.floats(0.0, 1e6)


def test_blur_is_equation_10():
    eta = np.array([[1.0, -2.0, 0.5]])
    r = np.array([[0.5, 1.0, -1.0]])
    np.testing.assert_allclose(association.blur(eta, 9.0, r), [[2.5 / 10**0.5, 1 / 10**0.5, -2.5 / 10**0.5]])


def test_no_noise_leaves_eta_as_it_is():
    eta, r = rng.normal(1, "eta", 0, 50, (3,)), rng.normal(1, "r", 0, 50, (3,))
    np.testing.assert_array_equal(association.blur(eta, 0.0, r), eta)


@pytest.mark.parametrize("noise_variance", [0.0, 1.0, 9.0, 18.0, 49.0])
def test_eta_hat_stays_standard_normal_and_holds_the_explainable_fraction(noise_variance):
    n = 200_000
    eta, r = rng.normal(1, "eta", 0, n, (1,)), rng.normal(1, "r", 0, n, (1,))
    eta_hat = association.blur(eta, noise_variance, r)
    assert abs(eta_hat.mean()) < 4 / n**0.5
    assert abs(eta_hat.var() - 1) < 4 * (2 / n) ** 0.5
    squared_correlation = np.corrcoef(eta[:, 0], eta_hat[:, 0])[0, 1] ** 2
    assert squared_correlation == pytest.approx(
        association.explainable_fraction(noise_variance), abs=4 / n**0.5
    )


def test_explainable_fraction_has_the_values_of_table_1():
    found = [association.explainable_fraction(v) for v in (0.0, 1.0, 9.0, 18.0, 49.0)]
    assert found == pytest.approx([1.0, 0.5, 0.1, 1 / 19, 0.02], rel=1e-15)


@given(variances, variances)
def test_more_noise_never_explains_more(a, b):
    low, high = sorted((a, b))
    assert 0 < association.explainable_fraction(high) <= association.explainable_fraction(low) <= 1


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_a_variance_that_is_none_is_named(bad):
    with pytest.raises(ValueError, match=f"noise_variance must be a number ≥ 0, got {bad}"):
        association.explainable_fraction(bad)
    with pytest.raises(ValueError, match="noise_variance"):
        association.blur(np.zeros((2, 3)), bad, np.zeros((2, 3)))


def test_draws_of_another_shape_are_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside tests
    with pytest.raises(ValueError, match=r"r must have the shape of eta, \(2, 3\), got \(1, 3\)"):
        association.blur(np.zeros((2, 3)), 1.0, np.zeros((1, 3)))
