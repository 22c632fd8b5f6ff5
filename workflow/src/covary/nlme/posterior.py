"""Draws from each subject's posterior p(η | y), and the marginal likelihood by adaptive quadrature."""

from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.special import chdtri, gammaln

from covary import rng
from covary.nlme import joint
from covary.nlme.blocks import lane_program, map_lanes
from covary.nlme.design import Records
from covary.nlme.empirical_bayes import EmpiricalBayes, empirical_bayes
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters
from covary.nlme.predict import check_model, lanes_of

_DEGREES = 5.0  # of freedom of the Student-t proposals
# Posteriors that are wider than their mode suggests would lose their tails: on the paper's model E[η²] comes
# out 4 % too small without it.
_INFLATION = 3.0  # of the covariance at the mode
_PROPOSALS_PER_DRAW = 4
_LOW_SAMPLE_SIZE = 0.3  # of the proposals; below it a second proposal joins
_SUBJECTS_AT_ONCE = 8192


class Draws(NamedTuple):
    """Posterior draws of each subject, and how many independent draws the weighted proposals are worth.

    `log_marginal` is their estimate of log p(y), without the ½ ln 2π of every observation.
    """

    eta: Float64[np.ndarray, "subject draw k"]
    effective_sample_size: Float64[np.ndarray, " subject"]
    log_marginal: Float64[np.ndarray, " subject"]


def posterior_draws(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    records: Records,
    modes: EmpiricalBayes,
    n_draws: int,
    seed: int,
    *,
    stream: str = "posterior_draws",
    first_subject: int = 0,
) -> Draws:
    """`n_draws` draws a subject by importance resampling around its mode.

    Proposals are Student-t, wider than the curvature at the mode; where the effective sample size is low,
    as many more come from a Student-t with the weighted moments of the first, and both are weighted as one
    mixture. Proposals are kept for so many subjects at once that memory is bounded.
    Draws of a subject are keyed by (seed, stream, its number), subjects counting from `first_subject`.
    Subjects whose mode was not found get NaN. Raises ValueError if the arguments do not fit together.
    """
    check_model(model, parameters, records.design)
    n = len(modes.eta)
    if n != records.design.n_subjects:
        raise ValueError(f"modes must be those of {records.design.n_subjects} subjects, got {n}")
    if n_draws < 1:
        raise ValueError(f"n_draws must be ≥ 1, got {n_draws}")
    drawn = []
    for start in range(0, n, _SUBJECTS_AT_ONCE):
        part = slice(start, start + _SUBJECTS_AT_ONCE)
        some = EmpiricalBayes(*(column[part] for column in modes))
        span = (first_subject + start, first_subject + start + len(some.eta))
        drawn.append(_draw(model, parameters, records[part], some, n_draws, seed, stream, span))
    return Draws(*(np.concatenate(column) for column in zip(*drawn, strict=True)))


def _draw(model, parameters, records, modes, n_draws, seed, stream, span) -> Draws:
    """The draws of the subjects numbered from span[0] to before span[1]."""
    k = modes.eta.shape[1]
    positive = np.isfinite(modes.objective) & (np.linalg.eigvalsh(np.nan_to_num(modes.precision))[:, 0] > 0)
    m = _PROPOSALS_PER_DRAW * n_draws
    target = _Target(model, parameters.concrete(), records)
    covariance = np.linalg.inv(np.where(positive[:, None, None], modes.precision, np.eye(k)))
    first = _Student.around(modes.eta, _INFLATION * covariance)
    eta = first.draw(seed, f"{stream}/first", span, m)
    log_target = target(eta)
    weight, size, log_mean = _normalise(log_target - first.log_density(eta))
    # Every subject has the same number of columns, so that the resampling below is one array operation.
    eta = np.concatenate([eta, np.broadcast_to(eta[:, :1], eta.shape)], axis=1)
    weight = np.concatenate([weight, np.zeros_like(weight)], axis=1)
    low = np.flatnonzero((size < _LOW_SAMPLE_SIZE * m) & positive)
    if low.size:
        some, some_weight = eta[low, :m], weight[low, :m]
        mean = np.einsum("sm,smk->sk", some_weight, some)
        centred = some - mean[:, None]
        spread = np.einsum("sm,smi,smj->sij", some_weight, centred, centred)
        spread = spread + 0.1 * covariance[low]  # a single dominating weight leaves no spread
        second = _Student.around(mean, spread)
        more = second.draw(seed, f"{stream}/second", span, m, low)
        both = np.concatenate([some, more], axis=1)
        log_both = np.concatenate([log_target[low], target(more, low)], axis=1)
        mixture = np.logaddexp(first.rows(low).log_density(both), second.log_density(both)) - np.log(2)
        eta[low] = both
        weight[low], size[low], log_mean[low] = _normalise(log_both - mixture)
    # Systematic resampling, then a shuffle so that draws are exchangeable.
    offset = rng.uniform(seed, f"{stream}/resample", *span, (1 + n_draws,))
    grid = (np.arange(n_draws) + offset[:, :1]) / n_draws
    cumulative = np.cumsum(weight, axis=1)
    chosen = np.stack([np.searchsorted(c / c[-1], g) for c, g in zip(cumulative, grid, strict=True)])
    chosen = np.take_along_axis(
        np.minimum(chosen, eta.shape[1] - 1), np.argsort(offset[:, 1:], axis=1), axis=1
    )
    draws = np.take_along_axis(eta, chosen[..., None], axis=1)
    prior = 0.5 * (np.linalg.slogdet(parameters.omega)[1] + k * np.log(2 * np.pi))
    draws[~positive], size[~positive], log_mean[~positive] = np.nan, 0.0, np.nan
    return Draws(draws, size, log_mean - prior)


def adaptive_quadrature(
    model: OdeModel | ClosedFormModel, parameters: Parameters, records: Records, *, points: int = 7
) -> Float64[np.ndarray, " subject"]:
    """OFV of each subject by Gauss-Hermite quadrature around its mode, `points` a random effect.

    One point is the Laplace approximation; more converge to the exact marginal likelihood. A check of the
    other methods, not for large problems: it takes points^k solves a subject. Raises ValueError if there is
    no mode.
    """
    if points < 1:
        raise ValueError(f"points must be ≥ 1, got {points}")
    modes = empirical_bayes(model, parameters, records)
    if np.any(modes.status == 2):
        subject = records.design.name(int(np.argmax(modes.status == 2)))
        raise ValueError(
            f"subject {subject}: no mode of the random effects was found, so there is no quadrature"
        )
    z, log_weight = normal_quadrature(points, modes.eta.shape[1])
    factor = np.linalg.cholesky(np.linalg.inv(modes.precision))
    eta = modes.eta[:, None] + np.einsum("sij,mj->smi", factor, z)
    log_target = _Target(model, parameters.concrete(), records)(eta)
    terms = log_target + log_weight + 0.5 * np.sum(z**2, axis=1)
    top = terms.max(axis=1, keepdims=True)
    integral = top[:, 0] + np.log(np.sum(np.exp(terms - top), axis=1))
    return np.linalg.slogdet(parameters.omega)[1] + np.linalg.slogdet(modes.precision)[1] - 2 * integral


def normal_quadrature(
    points: int, k: int
) -> tuple[Float64[np.ndarray, "node k"], Float64[np.ndarray, " node"]]:
    """Gauss-Hermite nodes for N(0, I) of dimension k, `points` along each, and their logarithmic weights."""
    node, weight = np.polynomial.hermite_e.hermegauss(points)
    log_weight = np.log(weight / weight.sum())
    return (
        np.array(list(product(node, repeat=k))),
        np.array(list(product(log_weight, repeat=k))).sum(axis=1),
    )


class _Student(NamedTuple):
    """A multivariate Student-t for each subject."""

    mean: np.ndarray  # (subject, k)
    factor: np.ndarray  # (subject, k, k), lower Cholesky factor of the scale matrix

    @classmethod
    def around(cls, mean, covariance):
        return cls(mean, np.linalg.cholesky(covariance))

    def rows(self, subjects):
        return _Student(self.mean[subjects], self.factor[subjects])

    def draw(self, seed, stream, span, m, subjects=slice(None)) -> np.ndarray:
        k = self.mean.shape[1]
        normal = rng.normal(seed, f"{stream}/normal", *span, (m, k))[subjects]
        chi_square = chdtri(_DEGREES, rng.uniform(seed, f"{stream}/chi_square", *span, (m,))[subjects])
        scaled = normal / np.sqrt(chi_square / _DEGREES)[..., None]
        return self.mean[:, None] + np.einsum("sij,smj->smi", self.factor, scaled)

    def log_density(self, eta) -> np.ndarray:
        k = eta.shape[2]
        z = np.linalg.solve(self.factor, np.swapaxes(eta - self.mean[:, None], 1, 2))
        constant = gammaln((_DEGREES + k) / 2) - gammaln(_DEGREES / 2) - 0.5 * k * np.log(_DEGREES * np.pi)
        determinant = np.log(np.diagonal(self.factor, axis1=1, axis2=2)).sum(axis=1)
        return (
            constant - determinant[:, None] - (_DEGREES + k) / 2 * np.log1p(np.sum(z**2, axis=1) / _DEGREES)
        )


class _Target:
    """−Φ at many points of each subject."""

    def __init__(self, model, parameters, records):
        self._model, self._parameters = model, parameters
        self._lanes = lanes_of(model, records)

    def __call__(self, eta, subjects=None) -> np.ndarray:
        n, m, k = eta.shape
        subjects = np.arange(n) if subjects is None else subjects
        points = np.ascontiguousarray(eta.reshape(n * m, k).T)

        def select(index):
            return points[:, index], self._lanes.select(subjects[index // m])

        phi = map_lanes(partial(_phi, self._model, self._parameters), n * m, select).reshape(n, m)
        return np.where(np.isfinite(phi), -phi, -np.inf)


@lane_program(n_shared=2)
def _phi(model, parameters, eta, lanes):
    return joint.joint(model, parameters, eta, lanes, None)


def _normalise(log_weight) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights that sum to 1, their effective sample size and log mean; zeros where all weights vanish."""
    top = log_weight.max(axis=1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    weight = np.exp(log_weight - top)
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
    log_mean = top[:, 0] + np.log(total[:, 0] / weight.shape[1])
    weight = weight / total
    return weight, 1 / np.maximum(np.sum(weight**2, axis=1), 1e-300), log_mean
