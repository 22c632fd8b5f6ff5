"""The Hessian of an objective at the end of a search: what it says of the estimates, and where to go on."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

_SINGULAR = 1e-6  # eigenvalues of the scaled Hessian below it leave a direction open
_FLAT = 1e-4  # second derivatives of the OFV below it, likewise: a standard error above 100 units
_INVOLVED = 0.01  # the least share of a parameter in an open direction that leaves the parameter open


class Curvature(NamedTuple):
    """A Hessian H = D S D with D the roots of its diagonal, and the eigenvalues and eigenvectors of S.

    Coordinates are such that a step of 1 is a large one: logarithms, or multiples of a standard error.
    """

    scale: Float64[np.ndarray, " p"]
    values: Float64[np.ndarray, " p"]
    vectors: Float64[np.ndarray, "p p"]
    flat: Bool[np.ndarray, " p"]

    @classmethod
    def of(cls, hessian: Float64[np.ndarray, "p p"]) -> "Curvature":
        """Of a symmetric matrix of finite numbers."""
        diagonal = np.abs(np.diag(hessian))
        flat = diagonal < _FLAT
        scale = np.sqrt(np.where(flat, 1.0, diagonal))
        # What is flat has no noise to be scaled up.
        scaled = np.where(flat[:, None] | flat, 0.0, hessian / np.outer(scale, scale))
        return cls(scale, *np.linalg.eigh(scaled), flat)

    @property
    def positive(self) -> bool:
        """Whether no direction leads down, open directions apart."""
        return bool(np.all(self.values > -_SINGULAR))

    @property
    def open(self) -> Bool[np.ndarray, " p"]:
        """Which parameters the objective does not determine."""
        share = np.square(self.vectors)[:, np.abs(self.values) <= _SINGULAR].sum(axis=1)
        return self.flat | (share > _INVOLVED)

    def inverse(self) -> Float64[np.ndarray, "p p"]:
        """H⁻¹ over the directions that are determined; NaN for parameters that are not."""
        inverted = np.where(self.values > _SINGULAR, 1 / np.where(self.values == 0, 1.0, self.values), 0.0)
        inverse = (self.vectors * inverted) @ self.vectors.T / np.outer(self.scale, self.scale)
        unknown = self.open | (np.square(self.vectors)[:, self.values < -_SINGULAR].sum(axis=1) > _INVOLVED)
        return np.where(unknown[:, None] | unknown, np.nan, inverse)

    def descent(self) -> Float64[np.ndarray, "p p"]:
        """|H|⁻¹, which makes a descent direction of any gradient; open directions have none."""
        size = np.where(np.abs(self.values) > _SINGULAR, np.maximum(np.abs(self.values), 1e-3), np.inf)
        return (self.vectors / size) @ self.vectors.T / np.outer(self.scale, self.scale)

    def decrement(self, slope: Float64[np.ndarray, " p"]) -> float:
        """How much a Newton step would lower the objective."""
        return float(slope @ self.descent() @ slope / 2)

    def condition(self) -> float:
        """The largest over the smallest eigenvalue of S; infinite where a direction is open."""
        return float(self.values[-1] / self.values[0]) if self.values[0] > _SINGULAR else float("inf")
