"""Linear algebra of a small matrix a lane, against NumPy's of one matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covary.nlme.lane_algebra import eigh, inverse, log_determinant, solve


def positive_definite(n, lanes, seed):
    """Matrices (n, n, lane) with eigenvalues from 1e-3 to 1e3."""
    draw = np.random.default_rng(seed)
    vectors = np.linalg.qr(draw.normal(size=(lanes, n, n)))[0]
    values = 10 ** draw.uniform(-3, 3, (lanes, n))
    return np.moveaxis(np.einsum("lij,lj,lkj->lik", vectors, values, vectors), 0, -1)


@settings(max_examples=15, deadline=None)
@given(n=st.sampled_from([1, 2, 3, 5, 21]), seed=st.integers(0, 1000))
def test_positive_definite_systems(n, seed):
    a = positive_definite(n, 4, seed)
    b = np.random.default_rng(seed).normal(size=(n, 4))
    x = np.asarray(solve(jnp.asarray(a), jnp.asarray(b)))
    np.testing.assert_allclose(np.einsum("ijl,jl->il", a, x), b, atol=1e-8 * np.abs(a).max())
    y = np.asarray(inverse(jnp.asarray(a)))
    for lane in range(4):
        expected = np.linalg.inv(a[..., lane])
        np.testing.assert_allclose(y[..., lane], expected, atol=1e-8 * np.abs(expected).max())
        assert log_determinant(jnp.asarray(a))[lane] == pytest.approx(np.linalg.slogdet(a[..., lane])[1])


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 6), seed=st.integers(0, 1000))
def test_eigenvalues_of_any_symmetric_matrix(n, seed):
    a = np.random.default_rng(seed).normal(size=(n, n, 4))
    a = a + np.swapaxes(a, 0, 1)
    values, vectors = map(np.asarray, eigh(jnp.asarray(a)))
    for lane in range(4):
        np.testing.assert_allclose(np.sort(values[:, lane]), np.linalg.eigvalsh(a[..., lane]), atol=1e-12)
        v = vectors[..., lane]
        np.testing.assert_allclose(v @ np.diag(values[:, lane]) @ v.T, a[..., lane], atol=1e-12)
        np.testing.assert_allclose(v.T @ v, np.eye(n), atol=1e-12)


def test_diagonal_and_equal_eigenvalues():
    a = jnp.asarray(np.array([[2.0, 0, 0], [0, 2, 0], [0, 0, -1]]))
    values, vectors = eigh(a)
    np.testing.assert_array_equal(values, [2, 2, -1])
    np.testing.assert_array_equal(vectors, np.eye(3))


def test_a_matrix_that_is_not_positive_definite_has_no_log_determinant():
    indefinite = jnp.diag(jnp.array([-1.0, -1.0, 1.0]))
    assert np.isnan(log_determinant(indefinite))


@pytest.mark.parametrize("n", [3, 12])
def test_derivative_of_the_log_determinant_is_the_inverse(n):
    a, direction = (positive_definite(n, 2, seed) for seed in (1, 2))
    slope = jax.jvp(log_determinant, (jnp.asarray(a),), (jnp.asarray(direction),))[1]
    for lane in range(2):
        expected = np.trace(np.linalg.solve(a[..., lane], direction[..., lane]))
        assert slope[lane] == pytest.approx(expected, rel=1e-8)
