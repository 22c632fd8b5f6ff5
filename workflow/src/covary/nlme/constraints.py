"""What is known of parameters before a fit: bounds and prior distributions."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.special import expit, logit

from covary.errors import UserError
from covary.nlme.parameters import Parameters

_AT_BOUND = 1e-3  # of the range between two bounds, or of the distance from one at the start


class Prior(NamedTuple):
    """A normal prior of a parameter, or of the logarithm of a positive one.

    Its centre is on the natural scale; `sd` is that of the parameter, or of the logarithm.
    """

    centre: float
    sd: float


class Constraints(NamedTuple):
    """Bounds and priors of the free entries of the unconstrained vector, and a scale without bounds.

    An entry v between two bounds is low + (high − low)/(1 + e^−u); with one bound it is low + e^u or
    high − e^u. Others are u themselves.
    """

    names: tuple[str, ...]
    low: Float64[np.ndarray, " free"]
    high: Float64[np.ndarray, " free"]
    mean: Float64[np.ndarray, " free"]  # of the prior; NaN: none
    sd: Float64[np.ndarray, " free"]
    logarithms: np.ndarray  # which v are logarithms
    distance: Float64[np.ndarray, " free"]  # what counts as far from a bound

    @classmethod
    def of(
        cls,
        initial: Parameters,
        free: np.ndarray,
        bounds: Mapping[str, tuple[float | int, float | int]],
        priors: Mapping[str, Prior],
    ) -> "Constraints":
        """Checked constraints of the free parameters.

        Raises UserError if a name is not that of a fixed effect or residual standard deviation that is
        estimated, an initial value is not between its bounds, or a prior makes no sense.
        """
        natural = list(initial.natural())
        allowed = [n for n, f in zip(natural, free, strict=True) if f and not n.startswith("omega(")]
        for kind, names in (("bounds", bounds), ("priors", priors)):
            if unknown := [name for name in names if name not in allowed]:
                raise UserError(f"{kind} can be of {', '.join(allowed)}, got {unknown[0]}")
        logarithms, vector = initial.logarithms(), initial.to_vector()
        low, high = np.full(len(natural), -np.inf), np.full(len(natural), np.inf)
        mean, sd = np.full(len(natural), np.nan), np.ones(len(natural))
        for name, ends in bounds.items():
            i = natural.index(name)
            value = float(initial.natural()[name])
            if not ends[0] < value < ends[1]:
                raise UserError(
                    f"the initial value of {name} must lie between its bounds {ends[0]:g} and {ends[1]:g}, "
                    f"got {value:g}"
                )
            low[i], high[i] = ends
            if logarithms[i]:
                low[i] = np.log(ends[0]) if ends[0] > 0 else -np.inf
                high[i] = np.log(ends[1])
        for name, prior in priors.items():
            i = natural.index(name)
            if not (np.isfinite(prior.centre) and prior.sd > 0 and (prior.centre > 0 or not logarithms[i])):
                raise UserError(
                    f"the prior of {name} must have a centre in its range and sd > 0, got {prior.centre:g} "
                    f"and {prior.sd:g}"
                )
            mean[i] = np.log(prior.centre) if logarithms[i] else prior.centre
            sd[i] = prior.sd
        both = np.isfinite(low) & np.isfinite(high)
        near = np.where(np.isfinite(low), vector - low, np.where(np.isfinite(high), high - vector, 1.0))
        distance = np.where(both, high - low, near)
        columns = (v[free] for v in (low, high, mean, sd, logarithms, distance))
        return cls(tuple(np.array(natural)[free]), *columns)

    @property
    def bounded(self) -> np.ndarray:
        """Which entries have a bound."""
        return np.isfinite(self.low) | np.isfinite(self.high)

    def inside(self, u: Float64[np.ndarray, " free"]) -> Float64[np.ndarray, " free"]:
        """v of u."""
        with np.errstate(over="ignore", invalid="ignore"):
            grown = np.exp(u)
            return np.select(
                self._kinds(),
                [self.low + (self.high - self.low) * expit(u), self.low + grown, self.high - grown],
                u,
            )

    def unbounded(self, v: Float64[np.ndarray, " free"]) -> Float64[np.ndarray, " free"]:
        """u of v."""
        with np.errstate(divide="ignore", invalid="ignore"):
            share = (v - self.low) / (self.high - self.low)
            return np.select(self._kinds(), [logit(share), np.log(v - self.low), np.log(self.high - v)], v)

    def slope(self, u: Float64[np.ndarray, " free"]) -> Float64[np.ndarray, " free"]:
        """dv/du."""
        with np.errstate(over="ignore", invalid="ignore"):
            grown = np.exp(u)
            both = (self.high - self.low) * expit(u) * expit(-u)
            return np.select(self._kinds(), [both, grown, -grown], np.ones_like(u))

    def penalty(self, v: Float64[np.ndarray, " free"]) -> tuple[float, Float64[np.ndarray, " free"]]:
        """−2 ln of the priors, constants apart, and its derivative."""
        z = np.where(np.isnan(self.mean), 0.0, (v - self.mean) / self.sd)
        return float(np.sum(z**2)), 2 * z / self.sd

    def reached(self, v: Float64[np.ndarray, " free"]) -> dict[str, str]:
        """The parameters that are at a bound, in words."""
        found = {}
        for i in np.flatnonzero(self.bounded):
            for bound in (self.low[i], self.high[i]):
                if np.isfinite(bound) and abs(v[i] - bound) <= _AT_BOUND * self.distance[i]:
                    natural = np.exp(bound) if self.logarithms[i] else bound
                    found[self.names[i]] = f"{self.names[i]} is at its bound {natural:g}"
        return found

    def _kinds(self) -> list[np.ndarray]:
        low, high = np.isfinite(self.low), np.isfinite(self.high)
        return [low & high, low, high]
