"""Distances between two sets of feature vectors."""

import numpy as np
from jaxtyping import Bool, Float, Float64
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

_NEIGHBOURS = 3


def frechet_distance(a: Float[np.ndarray, "n feature"], b: Float[np.ndarray, "m feature"]) -> float:
    """|μ_a - μ_b|² + tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½), the squared 2-Wasserstein distance of two normals.

    The estimate is biased upwards, and more so with fewer vectors. Compare only distances of equal n and m.
    """
    covariance_a, covariance_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    root = sqrtm(covariance_a).real
    # The eigenvalues of Σ_a Σ_b are those of a symmetric matrix.
    eigenvalues = np.linalg.eigvalsh(root @ covariance_b @ root)
    overlap = np.sqrt(eigenvalues.clip(min=0)).sum()
    shift = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    return float(shift + np.trace(covariance_a) + np.trace(covariance_b) - 2 * overlap)


def kernel_distance(a: Float[np.ndarray, "n feature"], b: Float[np.ndarray, "m feature"]) -> float:
    """Squared maximum mean discrepancy with the kernel (x·y/d + 1)³ (Bińkowski et al., arXiv:1801.01401).

    This is the unbiased estimate. It has the mean 0, and can be negative, if both sets have one distribution.
    """

    def kernel(x: np.ndarray, y: np.ndarray) -> Float64[np.ndarray, "_ _"]:
        return (x.astype(np.float64) @ y.T / x.shape[1] + 1) ** 3

    def among(x: np.ndarray) -> float:
        values = kernel(x, x)
        return (values.sum() - np.trace(values)) / (len(x) * (len(x) - 1))

    return float(among(a) + among(b) - 2 * kernel(a, b).mean())


def precision_and_recall(
    real: Float[np.ndarray, "n feature"], generated: Float[np.ndarray, "m feature"]
) -> tuple[float, float]:
    """Precision: share of generated vectors among the real ones. Recall: share of real among generated ones.

    A vector is among others if its distance to one of them is at most the distance from that one to its third
    nearest neighbour in its own set (Kynkäänniemi et al., arXiv:1904.06991).
    """
    apart = cdist(real, generated)
    return float(_within(apart, _radius(real)).mean()), float(_within(apart.T, _radius(generated)).mean())


def _radius(x: np.ndarray) -> Float64[np.ndarray, " n"]:
    """Distance of each vector to its third nearest neighbour, itself not counted."""
    return np.partition(cdist(x, x), _NEIGHBOURS, axis=1)[:, _NEIGHBOURS]


def _within(apart: np.ndarray, radius: np.ndarray) -> Bool[np.ndarray, " m"]:
    return (apart <= radius[:, None]).any(axis=0)
