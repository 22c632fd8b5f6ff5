"""Population parameters from stored draws: the third stage of Arruda et al. (ICML 2024).

Draws φ_im of each subject's posterior under a prior p0 = N(μ0, Σ0) give the likelihood of another population
N(β_i, Ψ) without a further solve,

    J(B, Ψ) = −Σ_i log (1/M) Σ_m N(φ_im; β_i, Ψ)/p0(φ_im),  β_i = B' x_i,

up to a constant. So the same draws serve every covariate model and every structure of Ψ.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Int64

from covary.errors import UserError

_FALL = 0.8  # of a pinned variance, per iteration
_LOW_SHARE = 0.1  # of the draws: a median effective sample size below it makes Ψ too large


@dataclass(frozen=True)
class PopulationEstimate:
    """Maximum of the likelihood of stored draws, with standard errors from the subjects' scores.

    `share` is each subject's effective sample size as a share of its draws, at the estimate, and
    `posterior_mean` the mean of its draws there. `history` has J after every iteration, which never rises
    unless components are pinned. `uncertainty` is the covariance of the entries of B, row by row, and of
    those of the lower triangle of Ψ; it is 0 for what is not estimated. `variance_places` says where the
    variances are.
    """

    coefficients: Float64[np.ndarray, "covariate k"]
    covariance: Float64[np.ndarray, "k k"]
    uncertainty: Float64[np.ndarray, "q q"]
    share: Float64[np.ndarray, " subject"]
    posterior_mean: Float64[np.ndarray, "subject k"]
    history: Float64[np.ndarray, " iteration"]
    converged: bool

    @property
    def coefficients_se(self) -> Float64[np.ndarray, "covariate k"]:
        """Standard errors of B."""
        errors = np.sqrt(np.diagonal(self.uncertainty))
        return errors[: self.coefficients.size].reshape(self.coefficients.shape)

    @property
    def variances_se(self) -> Float64[np.ndarray, " k"]:
        """Standard errors of the variances."""
        return np.sqrt(np.diagonal(self.uncertainty)[self.variance_places])

    @property
    def variance_places(self) -> Int64[np.ndarray, " k"]:
        """Where the variances are among the entries of `uncertainty`."""
        rows, columns = np.tril_indices(len(self.covariance))
        return self.coefficients.size + np.flatnonzero(rows == columns)

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
    weights: Float[np.ndarray, "subject draw"] | None = None,
    pinned: Float[np.ndarray, " k"] | None = None,
    structure: Literal["full", "diagonal"] = "full",
    iterations: int = 500,
    tolerance: float = 1e-4,
) -> PopulationEstimate:
    """Fit B and Ψ by expectation and maximisation, which starts at the prior and needs no step size.

    `covariates` are the rows x_i, by default a constant 1. `weights`, which sum to 1, are those of draws that
    need them. `pinned` has the variance of components that are, almost, the same for all subjects, and NaN
    for the others; such variances fall to it step by step. The fit ends when no entry of B or Ψ moves by more
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
    if weights is not None:
        log_prior = log_prior - np.log(np.maximum(m * weights, 1e-300))
    estimated = np.ones((k, k), dtype=bool) if structure == "full" else np.eye(k, dtype=bool)
    held = np.zeros(k, dtype=bool) if pinned is None else np.isfinite(pinned)
    estimated[held], estimated[:, held] = False, False
    regression = np.linalg.pinv(x)
    covariance = np.array(prior_covariance, dtype=np.float64)
    coefficients = regression @ np.broadcast_to(np.asarray(prior_mean, dtype=np.float64), (n, k))
    history, converged = [], False
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
        spread = np.where(estimated, spread, 0.0)
        if pinned is not None:
            fallen = np.maximum(pinned[held], _FALL * np.diagonal(covariance)[held])
            spread[held, held] = fallen
        change = max(
            np.max(np.abs(moved - coefficients) / scale),
            np.max(np.abs(spread - covariance) / np.outer(scale, scale)),
        )
        coefficients, covariance = moved, spread
        fell = pinned is None or np.array_equal(np.diagonal(covariance)[held], pinned[held])
        converged = bool(change < tolerance and fell)
        if converged:
            break
    weight, loss = _weights(draws, x @ coefficients, covariance, log_prior)
    share = 1 / np.sum(weight**2, axis=1) / m
    uncertainty = _uncertainty(draws, weight, x, x @ coefficients, covariance, estimated)
    mean = np.einsum("im,imk->ik", weight, draws)
    history = np.array([*history, loss])
    return PopulationEstimate(coefficients, covariance, uncertainty, share, mean, history, converged)


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


def _uncertainty(draws, weight, x, mean, covariance, estimated):
    """Covariance of B and the lower triangle of Ψ, from the outer products of the subjects' scores."""
    k = len(covariance)
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
    free = np.concatenate([np.ones(of_mean.shape[1], dtype=bool), estimated[rows, columns]])
    found = np.zeros((score.shape[1], score.shape[1]))
    found[np.ix_(free, free)] = np.linalg.pinv(score[:, free].T @ score[:, free])
    return found
