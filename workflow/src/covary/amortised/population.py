"""Population parameters from stored draws: the third stage of Arruda et al. (ICML 2024).

Draws φ_im of each subject's posterior under a prior p0 = N(μ0, Σ0) give the likelihood of another population
N(β_i, Ψ) without a further solve,

    J(B, Ψ) = −Σ_i log (1/M) Σ_m N(φ_im; β_i, Ψ)/p0(φ_im),  β_i = B' x_i,

up to a constant. So the same draws serve every covariate model and every structure of Ψ.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64

from covary.errors import UserError

_LOW_SHARE = 0.1  # of the draws: a median effective sample size below it makes Ψ too large


@dataclass(frozen=True)
class PopulationEstimate:
    """Maximum of the likelihood of stored draws, with standard errors from the subjects' scores.

    `share` is each subject's effective sample size as a share of its draws, at the estimate. `history` has J
    after every iteration, which never rises.
    """

    coefficients: Float64[np.ndarray, "covariate k"]
    covariance: Float64[np.ndarray, "k k"]
    coefficients_se: Float64[np.ndarray, "covariate k"]
    variances_se: Float64[np.ndarray, " k"]
    share: Float64[np.ndarray, " subject"]
    history: Float64[np.ndarray, " iteration"]

    @property
    def reliable(self) -> bool:
        """Whether enough draws carry the estimate; else draws under a prior near the estimate are needed."""
        return bool(np.median(self.share) >= _LOW_SHARE)


def fit_draws(
    draws: Float[np.ndarray, "subject draw k"],
    prior_mean: Float[np.ndarray, " k"],
    prior_covariance: Float[np.ndarray, "k k"],
    covariates: Float[np.ndarray, "subject covariate"] | None = None,
    *,
    structure: Literal["full", "diagonal"] = "full",
    iterations: int = 500,
    tolerance: float = 1e-4,
) -> PopulationEstimate:
    """Fit B and Ψ by expectation and maximisation, which starts at the prior and needs no step size.

    `covariates` are the rows x_i, by default a constant 1. The fit ends when no entry of B or Ψ moves by more
    than `tolerance` prior standard deviations. Raises UserError if a draw is not finite or there are fewer
    subjects than covariates.
    """
    n, m, k = draws.shape
    x = np.ones((n, 1)) if covariates is None else np.asarray(covariates, dtype=np.float64)
    if not np.isfinite(draws).all():
        subject = int(np.argmax(~np.isfinite(draws).all(axis=(1, 2))))
        raise UserError(f"subject {subject} has draws that are not finite")
    if n < x.shape[1]:
        raise UserError(f"a fit of {x.shape[1]} covariates needs as many subjects, got {n}")
    scale = np.sqrt(np.diagonal(prior_covariance))
    log_prior = _log_normal(draws - prior_mean, prior_covariance)
    regression = np.linalg.pinv(x)
    covariance = np.array(prior_covariance, dtype=np.float64)
    coefficients = regression @ np.broadcast_to(np.asarray(prior_mean, dtype=np.float64), (n, k))
    history = []
    for _ in range(iterations):
        weight, loss = _weights(draws, x @ coefficients, covariance, log_prior)
        history.append(loss)
        mean = np.einsum("im,imk->ik", weight, draws)
        moved = regression @ mean
        beta = x @ moved
        flat = draws.reshape(n * m, k)
        crossed = mean.T @ beta
        squares = flat.T @ (weight.reshape(-1, 1) * flat)
        spread = (squares - crossed - crossed.T + beta.T @ beta) / n
        if structure == "diagonal":
            spread = np.diag(np.diagonal(spread))
        change = max(
            np.max(np.abs(moved - coefficients) / scale),
            np.max(np.abs(spread - covariance) / np.outer(scale, scale)),
        )
        coefficients, covariance = moved, spread
        if change < tolerance:
            break
    weight, loss = _weights(draws, x @ coefficients, covariance, log_prior)
    share = 1 / np.sum(weight**2, axis=1) / m
    errors = _standard_errors(draws, weight, x, x @ coefficients, covariance)
    return PopulationEstimate(coefficients, covariance, *errors, share, np.array([*history, loss]))


def _weights(draws, mean, covariance, log_prior):
    """Weights of each subject's draws under a population, and J."""
    log_ratio = _log_normal(draws - mean[:, None], covariance) - log_prior
    top = log_ratio.max(axis=1, keepdims=True)
    weight = np.exp(log_ratio - top)
    total = weight.sum(axis=1, keepdims=True)
    return weight / total, float(-np.sum(top + np.log(total / draws.shape[1])))


def _log_normal(deviation, covariance):
    """Log density of N(0, covariance) without the constant of 2π; (subject, draw)."""
    factor = np.linalg.cholesky(covariance)
    white = deviation @ np.linalg.inv(factor).T
    return -0.5 * np.sum(white**2, axis=2) - np.log(np.diagonal(factor)).sum()


def _standard_errors(draws, weight, x, mean, covariance):
    """Of B and of the variances, from the outer products of the subjects' scores."""
    k, p = len(covariance), x.shape[1]
    inverse = np.linalg.inv(covariance)
    centred = draws - mean[:, None]
    first = np.einsum("im,imk->ik", weight, centred) @ inverse
    second = np.einsum("im,imj,imk->ijk", weight, centred, centred, optimize=True)
    pull = 0.5 * (inverse @ second @ inverse - inverse)
    of_mean = (x[:, :, None] * first[:, None]).reshape(len(x), -1)
    # An entry beside the diagonal stands for two.
    rows, columns = np.tril_indices(k)
    of_covariance = pull[:, rows, columns] * np.where(rows == columns, 1.0, 2.0)
    score = np.concatenate([of_mean, of_covariance], axis=1)
    errors = np.sqrt(np.diagonal(np.linalg.pinv(score.T @ score)))
    return errors[: p * k].reshape(p, k), errors[p * k :][rows == columns]
