"""Objectives against closed forms: a linear model with normal errors, of which every integral is known."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from covary import nlme, predict, rng
from covary.nlme.likelihood import RecordLikelihood

OMEGA = np.array([[1.0, -0.3], [-0.3, 0.5]])
TIMES_H = np.linspace(0.0, 4.0, 6)
JACOBIAN = np.stack([np.ones_like(TIMES_H), TIMES_H], axis=1)


class Line(nlme.ClosedFormModel):
    """y = a + η₁ + (b + η₂) t."""

    fixed_effects: ClassVar = {"a": "real", "b": "real"}
    random_effects = ("eta_a", "eta_b")

    def individual(self, theta, eta, covariates):
        """Intercept and slope."""
        return {"a": theta["a"] + eta[0], "b": theta["b"] + eta[1]}

    def closed_form(self, time_h, doses, p):
        """The line."""
        return p["a"] + p["b"] * time_h


def evidence(n: int, n_draws: int, residual_sd: float, mean=None, factor=None):
    """Records of n subjects, whose η ~ N(mean, factor factor'), and what is known of them afterwards."""
    model = Line()
    parameters = model.parameters([2.0, -1.0], OMEGA, nlme.Additive(residual_sd))
    z = rng.normal(1, "eta", 0, n, (2,))
    eta = z @ np.linalg.cholesky(OMEGA).T if mean is None else mean + z @ factor.T
    design = nlme.Design.regular(TIMES_H, n_subjects=n)
    observation = nlme.simulate(model, parameters, eta, design, 1).observation
    records = nlme.Records.of(design, observation)
    modes = nlme.empirical_bayes(model, parameters, records)
    drawn = nlme.posterior_draws(model, parameters, records, modes, n_draws, 1, stream="draws")
    likelihood = RecordLikelihood(model, parameters, records)
    return predict.Posteriors.of(drawn.eta, drawn.log_marginal, likelihood), observation


def log_density(y, mean, covariance):
    """log N(y; J mean + a + b t, J covariance J' + σ² I) without constants."""
    error = y - torch.from_numpy(2.0 - TIMES_H) - mean @ torch.from_numpy(JACOBIAN.T)
    return -0.5 * torch.einsum(
        "nt,ts,ns->n", error, torch.linalg.inv(covariance), error
    ) - 0.5 * torch.logdet(covariance)


def exact_loss(observation, mean, covariance, residual_sd):
    """-log p(y | image) + log p(y)."""
    y, jacobian = torch.from_numpy(observation), torch.from_numpy(JACOBIAN)
    noise = residual_sd**2 * torch.eye(len(TIMES_H), dtype=torch.float64)
    seen = jacobian @ covariance @ jacobian.T + noise
    unseen = jacobian @ torch.from_numpy(OMEGA) @ jacobian.T + noise
    return log_density(y, torch.zeros_like(mean), unseen) - log_density(y, mean, seen)


def set_covariance(objective: predict.MarginalLikelihood, covariance: np.ndarray) -> None:
    """Let V be this, by the inverse of its parametrisation."""
    factor = np.linalg.cholesky(covariance - 1e-4 * np.eye(len(covariance)))
    with torch.no_grad():
        objective.factor.copy_(torch.from_numpy(np.tril(factor, -1) + np.diag(np.log(np.diag(factor)))))


@pytest.mark.parametrize("scale", [1e-3, 0.05, 0.8])
def test_expanded_likelihood_and_its_gradients_are_exact_for_a_linear_model(scale):
    residual_sd = 0.3
    known, observation = evidence(50, 4, residual_sd)  # 4 draws are too few everywhere
    objective = predict.MarginalLikelihood(OMEGA)
    set_covariance(objective, scale * np.array([[1.0, 0.2], [0.2, 0.7]]))
    mean = torch.from_numpy(0.5 * rng.normal(2, "mean", 0, 50, (2,))).requires_grad_()
    loss = objective.minus_log_likelihood(mean, known)
    expected = exact_loss(observation, mean, objective.covariance(), residual_sd)
    # log p(y) itself is estimated from the proposals behind the draws.
    offset = (loss - expected).detach()
    assert offset.abs().median() < 0.2
    for ours, exact in zip(
        torch.autograd.grad(loss.sum(), [mean, objective.factor]),
        torch.autograd.grad(expected.sum(), [mean, objective.factor]),
        strict=True,
    ):
        torch.testing.assert_close(ours, exact, rtol=1e-3, atol=1e-3 * exact.abs().max().item())


class Saturation(nlme.ClosedFormModel):
    """y = t/(1 + t e^2η): a small η leaves no trace in it."""

    fixed_effects: ClassVar = {"scale": "positive"}
    random_effects = ("eta",)

    def individual(self, theta, eta, covariates):
        """What it saturates by."""
        return {"k": theta["scale"] * jnp.exp(2 * eta[0])}

    def closed_form(self, time_h, doses, p):
        """The curve."""
        return time_h / (1 + p["k"] * time_h)


def test_expansions_have_the_exact_slope_where_the_likelihood_is_skewed():
    # What a mean is drawn to is E[η | y, image], which the mode is not.
    model, residual_sd, n = Saturation(), 0.3, 200
    parameters = model.parameters([1.0], 1.0, nlme.Additive(residual_sd))
    eta = rng.normal(1, "eta", 0, n, (1,))
    design = nlme.Design.regular(TIMES_H, n_subjects=n)
    records = nlme.Records.of(design, nlme.simulate(model, parameters, eta, design, 1).observation)
    likelihood = RecordLikelihood(model, parameters, records)
    few = predict.Posteriors.of(np.zeros((n, 4, 1)), np.zeros(n), likelihood)
    objective = predict.MarginalLikelihood(np.eye(1))
    set_covariance(objective, np.array([[0.1]]))
    mean = torch.from_numpy(0.8 * eta).requires_grad_()
    loss = objective.minus_log_likelihood(mean, few)
    (slope,) = torch.autograd.grad(loss.sum(), mean)

    grid = np.linspace(-6.0, 6.0, 2001)
    log_likelihood = likelihood.log_density(np.broadcast_to(grid[:, None], (n, 2001, 1)), np.arange(n))
    log_terms = torch.from_numpy(log_likelihood) - (torch.from_numpy(grid) - mean) ** 2 / (2 * 0.1)
    expected = -log_terms.logsumexp(dim=1) + 0.5 * np.log(2 * np.pi * 0.1) - np.log(grid[1] - grid[0])
    (expected_slope,) = torch.autograd.grad(expected.sum(), mean)
    assert (loss - expected).abs().max() < 0.05
    # The mode alone is off by 0.17 on average, and in one direction.
    assert abs((slope - expected_slope).mean()) < 0.02
    assert (slope - expected_slope).abs().mean() < 0.04


def test_many_draws_give_the_likelihood_of_a_linear_model():
    residual_sd = 0.5
    known, observation = evidence(50, 2000, residual_sd)
    objective = predict.MarginalLikelihood(OMEGA)
    set_covariance(objective, np.array([[0.6, -0.1], [-0.1, 0.3]]))
    mean = torch.from_numpy(0.3 * rng.normal(2, "mean", 0, 50, (2,)))
    loss = objective.minus_log_likelihood(mean, known).detach()
    expected = exact_loss(observation, mean, objective.covariance(), residual_sd).detach()
    torch.testing.assert_close(loss, expected, rtol=0, atol=0.15)
    assert abs((loss - expected).mean()) < 0.02


def test_the_loss_is_zero_for_a_predictor_that_knows_no_more_than_the_population():
    known, _ = evidence(20, 32, 0.5)
    objective = predict.MarginalLikelihood(OMEGA)
    set_covariance(objective, OMEGA)
    torch.testing.assert_close(
        objective(torch.zeros(20, 2), known), torch.zeros(20, dtype=torch.float64), rtol=0, atol=1e-9
    )


# Where the image says more than the record, few records speak of its errors.
@pytest.mark.parametrize(("sd", "tolerance"), [(0.05, 0.3), (0.7, 0.12)])
def test_validation_finds_the_covariance_of_errors_without_knowing_them(sd, tolerance):
    n = 1500
    factor = sd * np.array([[1.0, 0.0], [-0.4, 0.6]])
    explained = np.linalg.cholesky(OMEGA - factor @ factor.T)
    mean = rng.normal(3, "mean", 0, n, (2,)) @ explained.T
    known, _ = evidence(n, 64, 0.1, mean, factor)
    expected = factor @ factor.T
    objective = predict.MarginalLikelihood(OMEGA)
    loss = objective.validate(torch.from_numpy(mean), known)
    moved = objective.validate(torch.from_numpy(mean) + 0.3, known)
    assert loss == pytest.approx(moved, abs=0.01)  # a constant is no error
    found = objective.covariance().detach().numpy()
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())
    diagonal = predict.MarginalLikelihood(OMEGA, "diagonal")
    diagonal.validate(torch.from_numpy(mean), known)
    assert diagonal.covariance()[0, 1] == 0.0


def population(residual_sd):
    """Subjects whose image explains half of them, what is known of them, and an objective with that V."""
    n = 2000
    mean = rng.normal(4, "mean", 0, n, (2,)) @ np.linalg.cholesky(OMEGA / 2).T
    known, _ = evidence(n, 32, residual_sd, mean, np.linalg.cholesky(OMEGA / 2))
    objective = predict.MarginalLikelihood(OMEGA)
    set_covariance(objective, OMEGA / 2)
    objective.fitted.fill_(True)
    return torch.from_numpy(mean), known, objective


def test_the_pull_in_training_is_the_gradient_of_the_divergence_from_the_population():
    mean, known, objective = population(residual_sd=0.5)
    mean = (mean * torch.tensor([2.0, 0.5])).requires_grad_()
    likelihood = objective.minus_log_likelihood(mean, known).mean()
    moments = mean.T @ mean / len(mean) + objective.covariance().detach()
    zero = torch.zeros(2, dtype=torch.float64)
    normal = torch.distributions.MultivariateNormal
    divergence = torch.distributions.kl_divergence(
        normal(zero, moments), normal(zero, torch.from_numpy(OMEGA))
    )
    (expected,) = torch.autograd.grad(likelihood + divergence, mean)
    (found,) = torch.autograd.grad(objective(mean, known).mean(), mean)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_predictions_are_held_where_records_are_silent_and_true_ones_are_not_shrunk():
    mean, known, objective = population(residual_sd=1000.0)

    def pull(scale):
        """What multiplies the predictions in one step of descent, on average over random effects."""
        scaled = (scale * mean).requires_grad_()
        (slope,) = torch.autograd.grad(objective(scaled, known).sum(), scaled)
        return ((slope * scaled).mean() / scaled.square().mean()).item()

    assert pull(1.0) == pytest.approx(0, abs=0.05)
    assert pull(5.0) > 0.5
    assert pull(0.1) < -0.5
    objective.fitted.fill_(False)  # nobody knows yet how much the image explains
    assert pull(0.1) == pytest.approx(0, abs=0.05)
    assert pull(5.0) > 0.5


def test_squared_error_is_the_mean_over_random_effects():
    value = np.array([[1.0, 2.0], [0.0, 0.0]])
    loss = predict.MeanSquaredError()(torch.tensor([[0.0, 0.0], [0.0, 3.0]]), predict.Targets(value))
    torch.testing.assert_close(loss, torch.tensor([2.5, 4.5]))
