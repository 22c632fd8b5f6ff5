"""Monte Carlo EM: its posterior in closed form, and the variance between sites."""

import numpy as np
import pytest
import torch

from covary import rng
from covary.predict.monte_carlo_em import MonteCarloEffects, posterior_deviations
from covary.predict.tables import SiteModel

SITES, FEATURES = 3, 2


def effects():
    made = MonteCarloEffects(SITES, FEATURES, 1)
    made.intercept_prior.fill_(1.3)
    made.slope_prior.fill_(0.4)
    made.residual_variance.fill_(0.7)
    return made


def residuals():
    """Residuals of ten subjects, their last hidden layer, and their sites."""
    drawn = torch.from_numpy(rng.normal(1, "residuals", 0, 10, (1 + FEATURES,))).float()
    return drawn[:, :1], drawn[:, 1:], torch.arange(10) % SITES


def test_the_posterior_is_that_of_a_linear_model():
    model, (r, h, site) = effects(), residuals()
    mean, factor = model.condition(r, h, site)
    d = np.diag([1.3, 0.4, 0.4])
    for c in range(SITES):
        own = site == c
        centred = (h - h.mean(dim=0))[own].double().numpy()
        gamma = np.column_stack([np.ones(len(centred)), centred])
        v = gamma @ d @ gamma.T + 0.7 * np.eye(len(gamma))  # covariance of the residuals
        expected = d @ gamma.T @ np.linalg.solve(v, r[own, 0].double().numpy())
        covariance = d - d @ gamma.T @ np.linalg.solve(v, gamma @ d)
        np.testing.assert_allclose(mean[c, 0], expected, rtol=1e-5)
        np.testing.assert_allclose(torch.cholesky_inverse(factor[c, 0]), covariance, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(model.intercept_variance[c, 0], covariance[0, 0], rtol=1e-5)
        np.testing.assert_allclose(model.mean[c, :, 0], expected, rtol=1e-5)


def test_draws_have_mean_and_covariance_of_the_posterior():
    _, factor = effects().condition(*residuals())
    number = 40_000
    drawn = posterior_deviations(factor, number, torch.Generator().manual_seed(1))[:, 0, 0].numpy()
    covariance = torch.cholesky_inverse(factor[0, 0]).numpy()
    largest = covariance.diagonal().max()
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=4 * np.sqrt(largest / number))
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=6 * largest / np.sqrt(number))


def test_variances_are_mean_squares_over_draws_whose_mean_over_sites_is_the_networks():
    model, given = effects(), residuals()
    model.draw(*given, torch.Generator().manual_seed(1))
    assert model.draws.shape == (16, SITES, 1 + FEATURES, 1)
    assert model.intercept_prior.item() == pytest.approx(
        model.draws[:, :, 0].square().mean().item(), rel=1e-5
    )
    assert model.slope_prior.item() == pytest.approx(model.draws[:, :, 1:].square().mean().item(), rel=1e-5)
    deviations = model.draws.mean(dim=(0, 1)).abs().max().item()
    assert deviations < 0.5 < effects().condition(given[0] + 5, *given[1:])[0].mean(dim=0).max().item()
    again = effects()
    again.draw(given[0] + 5, *given[1:], torch.Generator().manual_seed(1))
    assert again.draws.mean(dim=(0, 1)).abs().max().item() < 0.5


@pytest.mark.parametrize("between", [1.0, 0.1])
def test_the_variance_between_sites_is_found(between):
    """The generator of LMMNN, with fewer subjects: y = Xβ cos(Xβ) + 2 x₁x₂ + b + ε, σ²_e = 1."""
    sites, n = 40, 2400
    x, site = 2 * rng.uniform(1, "x", 0, n, (10,)) - 1, np.arange(n) % sites
    b, linear = np.sqrt(between) * rng.normal(1, "b", 0, sites, ()), 1 + x.sum(axis=1)
    y = linear * np.cos(linear) + 2 * x[:, 0] * x[:, 1] + b[site] + rng.normal(1, "e", 0, n, ())
    model = SiteModel("monte_carlo_em", seed=1, new_sites=False, width=32, epochs=10, batch_size=60)
    found = model.fit(x, y, site).intercepts()
    assert found.variance[0] == pytest.approx(b.var(ddof=1), rel=0.3)
    assert np.corrcoef(found.mean[:, 0], b)[0, 1] > 0.8
