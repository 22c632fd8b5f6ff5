"""Population parameters from stored draws, against maximum likelihood where it has a closed form."""

import numpy as np
import pytest

from covary import rng
from covary.amortised.population import fit_draws
from covary.errors import UserError

N, K, M, SD = 300, 3, 1000, 0.3
TIMES = np.linspace(-1, 1, 6)
Z = np.stack([np.ones(6), TIMES, 1.5 * TIMES**2 - 0.5], axis=1)  # y = Z φ + ε
TRUE_MEAN, TRUE_SD = np.array([0.5, -0.5, 0.2]), np.array([0.6, 0.5, 0.7])
PRIOR_SD = 1.0


def records(seed=1, n=N, slope=0.0):
    """Random effects and records; the first mean rises with a covariate."""
    covariate = rng.normal(seed, "covariate", 0, n, (1,))
    phi = TRUE_MEAN + TRUE_SD * rng.normal(seed, "phi", 0, n, (K,))
    phi[:, :1] += slope * covariate
    return covariate, phi @ Z.T + SD * rng.normal(seed, "error", 0, n, (6,))


def posterior_draws(y, seed=1):
    """Exact draws under the prior N(0, PRIOR_SD² I)."""
    covariance = np.linalg.inv(Z.T @ Z / SD**2 + np.eye(K) / PRIOR_SD**2)
    mean = y @ Z @ covariance / SD**2
    noise = rng.normal(seed, "draws", 0, len(y), (M, K))
    return mean[:, None] + noise @ np.linalg.cholesky(covariance).T


def maximum_likelihood(y, x):
    """B and Ψ by expectation and maximisation with exact moments."""
    b, psi = np.zeros((x.shape[1], K)), np.eye(K)
    for _ in range(1000):
        covariance = np.linalg.inv(Z.T @ Z / SD**2 + np.linalg.inv(psi))
        mean = (y @ Z / SD**2 + x @ b @ np.linalg.inv(psi)) @ covariance
        b = np.linalg.lstsq(x, mean, rcond=None)[0]
        error = mean - x @ b
        psi = covariance + error.T @ error / len(y)
    return b, psi


def fit(draws, *arguments, **options):
    return fit_draws(draws, np.zeros(K), PRIOR_SD**2 * np.eye(K), *arguments, **options)


def test_the_fit_is_that_of_maximum_likelihood():
    _, y = records()
    found = fit(posterior_draws(y), tolerance=1e-5)
    b, psi = maximum_likelihood(y, np.ones((N, 1)))
    sd = np.sqrt(np.diag(psi))
    assert np.abs((found.coefficients - b) / sd).max() < 0.05
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)), sd, rtol=0.1)
    assert found.reliable and (np.diff(found.history) <= 1e-8 * abs(found.history[0])).all()
    # Standard errors are near those of means that are known: sd/√N and more.
    assert (found.coefficients_se[0] > sd / np.sqrt(N)).all()
    assert (found.coefficients_se[0] < 2.5 * sd / np.sqrt(N)).all()
    z = (found.coefficients[0] - TRUE_MEAN) / found.coefficients_se[0]
    assert np.abs(z).max() < 3.5
    assert np.abs((np.diag(found.covariance) - TRUE_SD**2) / found.variances_se).max() < 3.5


def test_intervals_over_a_hundred_data_sets_hold_the_truth():
    n, z = 100, []
    for seed in range(1, 101):
        _, y = records(seed, n)
        found = fit(posterior_draws(y, seed))
        if seed <= 10:
            b, psi = maximum_likelihood(y, np.ones((n, 1)))
            sd = np.sqrt(np.diag(psi))
            assert np.abs((found.coefficients - b) / sd).max() < 0.05
            np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)), sd, rtol=0.1)
        variance = np.diag(found.covariance)
        # The logarithm of a variance is nearer to a normal distribution than the variance is.
        of_variance = np.log(variance / TRUE_SD**2) / (found.variances_se / variance)
        z.append([*(found.coefficients[0] - TRUE_MEAN) / found.coefficients_se[0], *of_variance])
    # 600 intervals: 3.5 standard errors of their share are 0.03 at 95 % and 0.06 at 80 %.
    assert np.mean(np.abs(z) < 1.96) == pytest.approx(0.95, abs=0.03)
    assert np.mean(np.abs(z) < 1.2816) == pytest.approx(0.8, abs=0.06)


def test_the_same_draws_serve_another_covariate_model_and_a_diagonal_covariance():
    covariate, y = records(slope=0.8)
    draws = posterior_draws(y)
    x = np.column_stack([np.ones(N), covariate])
    found = fit(draws, x, structure="diagonal")
    b, _ = maximum_likelihood(y, x)
    np.testing.assert_allclose(found.coefficients, b, atol=0.05)
    assert found.coefficients[1, 0] == pytest.approx(0.8, abs=0.12)
    assert np.array_equal(found.covariance, np.diag(np.diagonal(found.covariance)))
    without = fit(draws)
    assert without.covariance[0, 0] > found.covariance[0, 0] + 0.3
    assert without.history[-1] > found.history[-1]


def test_a_population_far_from_the_prior_is_not_called_reliable():
    _, y = records()
    far = fit_draws(posterior_draws(y + 20.0), np.zeros(K), PRIOR_SD**2 * np.eye(K), iterations=30)
    assert not far.reliable


def test_bad_draws_are_named():
    draws = np.zeros((3, 4, K))
    draws[1, 2] = np.nan
    with pytest.raises(UserError, match="subject 1 has draws that are not finite"):
        fit(draws)
    with pytest.raises(UserError, match="2 covariates needs as many subjects, got 1"):
        fit(np.zeros((1, 4, K)), np.ones((1, 2)))
