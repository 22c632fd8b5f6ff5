"""Pareto-smoothed importance weights (Vehtari et al. 2024, JMLR 25:72)."""

import numpy as np
from jaxtyping import Float64

_PRIOR_SHAPE, _PRIOR_DRAWS = 0.5, 10  # a weak prior on the shape, worth so many draws


def generalised_pareto_shape(
    excess: Float64[np.ndarray, "subject tail"],
) -> tuple[Float64[np.ndarray, " subject"], Float64[np.ndarray, " subject"]]:
    """Shape k and scale σ of a generalised Pareto distribution, by Zhang and Stephens (2009).

    `excess` is sorted and positive. Their estimate is an average over a grid of values of −k/σ, weighted by
    the profile likelihood.
    """
    n, m = excess.shape[1], 30 + int(excess.shape[1] ** 0.5)
    quartile = excess[:, int(n / 4 + 0.5) - 1]
    grid = 1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))
    theta = 1 / excess[:, -1:] + grid / (3 * quartile[:, None])  # (subject, grid)
    shape = np.mean(np.log1p(-theta[:, :, None] * excess[:, None, :]), axis=2)
    likelihood = n * (np.log(-theta / shape) - shape - 1)
    weight = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    best = np.sum(theta * weight, axis=1) / weight.sum(axis=1)
    k = np.mean(np.log1p(-best[:, None] * excess), axis=1)
    scale = -k / best
    return (k * n + _PRIOR_SHAPE * _PRIOR_DRAWS) / (n + _PRIOR_DRAWS), scale


def smoothed(
    log_weight: Float64[np.ndarray, "subject draw"],
) -> tuple[Float64[np.ndarray, "subject draw"], Float64[np.ndarray, " subject"]]:
    """Weights that sum to 1, their largest ones smoothed, and the shape k̂ of their tail.

    Importance sampling can be relied on where k̂ < 0.7. k̂ is infinite where no weight is above 0. With fewer
    than 25 draws nothing is smoothed.
    """
    draws = log_weight.shape[1]
    top = log_weight.max(axis=1, keepdims=True)
    known = np.isfinite(top[:, 0])
    weight = np.exp(np.where(known[:, None], log_weight - np.where(known[:, None], top, 0.0), -np.inf))
    tail = int(min(draws / 5, 3 * draws**0.5))
    k = np.where(known, 0.0, np.inf)
    if tail >= 5:
        order = np.argsort(weight, axis=1)
        ordered = np.take_along_axis(weight, order, axis=1)
        cut = ordered[:, -tail - 1]
        excess = ordered[:, -tail:] - cut[:, None]
        # Equal weights have no tail; a tail of zeros has no smallest value to scale it by.
        some = known & (excess[:, 0] > 0) & (excess[:, -1] > 1e-12)
        if some.any():
            k[some], scale = generalised_pareto_shape(excess[some])
            quantile = (np.arange(tail) + 0.5) / tail
            shape = np.where(np.abs(k[some]) < 1e-9, 1e-9, k[some])[:, None]
            with np.errstate(over="ignore"):  # no weight is above 1, however heavy the tail
                expected = np.expm1(-shape * np.log1p(-quantile)) * scale[:, None] / shape
            ordered[some, -tail:] = np.minimum(cut[some, None] + expected, 1.0)
        weight = np.empty_like(ordered)
        np.put_along_axis(weight, order, ordered, axis=1)
    return weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-300), k


def sample_size(weight: Float64[np.ndarray, "subject draw"]) -> Float64[np.ndarray, " subject"]:
    """Effective sample size 1/Σw² of weights that sum to 1; 0 where all are 0."""
    squares = np.sum(weight**2, axis=1)
    return np.where(squares > 0, 1 / np.maximum(squares, 1e-300), 0.0)
