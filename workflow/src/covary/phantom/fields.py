"""Smooth random fields: cubic B-splines with independent normal coefficients."""

import numpy as np
from jaxtyping import Float32


def smooth_curve(
    rng: np.random.Generator, width: int, knots: int, curves: int = 1
) -> Float32[np.ndarray, "curve width"]:
    """Random curves with mean 0, unit variance and about `knots` independent sections."""
    coefficients = rng.standard_normal((knots + 3, curves), dtype=np.float32)
    return np.ascontiguousarray(_spline(coefficients, width).T)


def smooth_field(
    rng: np.random.Generator, shape: tuple[int, int], knots: tuple[int, int]
) -> Float32[np.ndarray, "height width"]:
    """A random field with mean 0, unit variance and about `knots` independent patches along each axis."""
    coefficients = rng.standard_normal((knots[1] + 3, knots[0] + 3), dtype=np.float32)
    return _spline(np.ascontiguousarray(_spline(coefficients, shape[1]).T), shape[0])


def _spline(
    coefficients: Float32[np.ndarray, "knot curve"], points: int
) -> Float32[np.ndarray, "point curve"]:
    """Uniform cubic B-splines at the centres of `points` cells, scaled to unit variance everywhere."""
    position = (np.arange(points) + 0.5) / points * (len(coefficients) - 3)
    first = position.astype(np.intp)
    t = (position - first).astype(np.float32)
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3])
    weights /= np.sqrt((weights**2).sum(axis=0))
    curves = weights[0, :, None] * coefficients[first]
    for tap in (1, 2, 3):
        curves += weights[tap, :, None] * coefficients[first + tap]
    return curves
