"""ComBat: the location and the scale of each site are taken out of feature vectors.

Johnson, Li and Rabinovic, Biostatistics 8(1):118-127 (2007). Feature g of subject j at site i is

    Y_ijg = α_g + X_ij β_g + γ_ig + δ_ig ε_ijg,   ε_ijg ~ N(0, σ_g²),   Σ_i n_i γ_ig = 0.

α̂, β̂ and σ̂ are those of least squares. With Z_ijg = (Y_ijg - α̂_g - X_ij β̂_g)/σ̂_g, a site has γ̂_ig, the mean
of Z_ijg, and δ̂²_ig, its variance. The priors γ_ig ~ N(γ̄_i, τ̄²_i) and δ²_ig ~ InverseGamma(λ̄_i, θ̄_i) are
common to the features of a site. The posterior means γ*_ig and δ²*_ig give the harmonised feature

    Y*_ijg = α̂_g + X_ij β̂_g + (Y_ijg - α̂_g - X_ij β̂_g - σ̂_g γ*_ig)/δ*_ig.

All is estimated on training subjects. X is the target less its mean over training subjects. The forms differ
in what they do with it:

    combat             X is left out.
    combat_target      X is the target, also of test subjects. This is an optimistic control: it uses the
                       outcome that is to be predicted.
    combat_leak_free   X is the target while α̂, β̂, σ̂, γ* and δ* are estimated. Then Y* is that of X = 0, for
                       training and for test subjects: α̂ + (Y - α̂ - σ̂ γ*)/δ*. No target of a test subject
                       is used, and all subjects pass through the same function of their features.

A new site has no parameters. Its γ* and δ* are estimated from the features of its subjects in the same way,
with α̂, β̂ and σ̂ of the training. This uses no target, except with `combat_target`. So the harmonised features
of a subject at a new site depend on which others are given with it, and what its features tell of the mean
case mix of the site is lost.

Variances have the divisor n, in place of n - 1 of the paper: a single site is left exactly as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int64

from covary.config.site_methods import COMBAT, Corrector
from covary.errors import UserError

_CLOSE = 1e-8  # the iteration of posterior means ends at this change, in standard deviations
_MOST_ITERATIONS = 1000
_NO_SPREAD = 1e-6  # of a feature within sites, in its standard deviation over all subjects

Features = Float[np.ndarray, "subject feature"]
PerFeature = Float64[np.ndarray, " feature"]
Labels = Sequence[Any] | np.ndarray


class _NewSite:
    def __str__(self) -> str:
        return "(new)"


_NEW = _NewSite()  # unlike any label


class Line(NamedTuple):
    """Harmonised features are slope · features + shift."""

    slope: Float64[np.ndarray, "subject feature"]
    shift: Float64[np.ndarray, "subject feature"]


class SiteScanner(NamedTuple):
    """Location γ and scale δ of one site, in the letters of the paper."""

    gamma: PerFeature
    delta: PerFeature


@dataclass(frozen=True)
class Combat:
    """What is estimated on training subjects. `sites` has the parameters of each training site by its label.

    With `needs_target` the target of a subject takes part when its features are harmonised.
    """

    alpha: PerFeature
    beta: Float64[np.ndarray, "covariate feature"]
    sigma: PerFeature
    centre: Float64[np.ndarray, " covariate"]
    sites: Mapping[Any, SiteScanner]
    needs_target: bool

    @classmethod
    def fit(
        cls,
        corrector: Corrector,
        features: Features,
        site: Labels,
        target: Float[np.ndarray, "subject covariate"],
    ) -> "Combat":
        """Estimate everything on training subjects.

        Raises UserError if a site has no two subjects with different features, a feature does not vary within
        sites, or a form with the target is given one that tells no more than the site.
        """
        y = features.astype(np.float64)
        x = (target if corrector != "combat" else target[:, :0]).astype(np.float64)
        code, names = _numbered(site)
        alpha, centre = y.mean(axis=0), x.mean(axis=0)
        beta = within_sites(y, x, code)
        residual = _deviations(y, code) - _deviations(x, code) @ beta
        sigma = np.sqrt(np.square(residual).mean(axis=0))
        still = np.flatnonzero(sigma <= _NO_SPREAD * y.std(axis=0))
        if len(still):
            raise UserError(f"ComBat needs features that vary within sites; number {still[0]} does not, "
                            "so remove it")  # fmt: skip
        z = (y - alpha - (x - centre) @ beta) / sigma
        sites = {name: _scanner(z[code == i], name) for i, name in enumerate(names)}
        return cls(alpha, beta, sigma, centre, sites, corrector == "combat_target")

    def line(
        self,
        features: Features,
        site: Labels | None = None,
        target: Float[np.ndarray, "subject covariate"] | None = None,
    ) -> Line:
        """How the features of these subjects are harmonised.

        A label that is not in training is a new site; without labels all subjects are those of one new site.

        Raises UserError if the form needs the target and there is none, or if a new site has no two subjects
        with different features.
        """
        if self.needs_target and target is None:
            raise UserError("corrector combat_target needs the target of every subject, also of test ones; "
                            "combat_leak_free does not")  # fmt: skip
        kept = np.broadcast_to(self.alpha, features.shape)
        if self.needs_target:
            kept = kept + (target - self.centre) @ self.beta
        gamma, delta = np.empty(features.shape), np.empty(features.shape)
        code, names = _numbered([_NEW] * len(features) if site is None else site)
        for i, name in enumerate(names):
            own = code == i
            known = self.sites.get(name)
            gamma[own], delta[own] = known or _scanner((features[own] - kept[own]) / self.sigma, name)
        return Line(1 / delta, kept - (kept + self.sigma * gamma) / delta)


def fit_corrector(
    corrector: Corrector,
    features: np.ndarray,
    site: Labels,
    target: Float[np.ndarray, "subject covariate"],
) -> Combat | None:
    """ComBat as `Combat.fit` estimates it; None for a corrector that leaves inputs as they are."""
    return Combat.fit(corrector, features, site, target) if corrector in COMBAT else None


def harmonised(
    combat: Combat | None,
    inputs: np.ndarray,
    site: Labels | None = None,
    target: Float[np.ndarray, "subject covariate"] | None = None,
) -> np.ndarray:
    """The inputs of a network: harmonised features, or without ComBat the inputs as they are."""
    if combat is None:
        return inputs
    slope, shift = combat.line(inputs, site, target)
    return (slope * inputs + shift).astype(inputs.dtype)


def within_sites(
    y: Float64[np.ndarray, "subject feature"],
    x: Float64[np.ndarray, "subject covariate"],
    code: Int64[np.ndarray, " subject"],
) -> Float64[np.ndarray, "covariate feature"]:
    """β̂ of least squares with a location for each site, from deviations from the means of the sites.

    Raises UserError if β is not determined.
    """
    beta, _, rank, _ = np.linalg.lstsq(_deviations(x, code), _deviations(y, code), rcond=None)
    if rank < x.shape[1]:
        raise UserError("ComBat with the target needs a target that varies within sites; otherwise the "
                        "effects of target and site cannot be told apart")  # fmt: skip
    return beta


def posterior_means(gamma_hat: PerFeature, delta2_hat: PerFeature, n: int) -> tuple[PerFeature, PerFeature]:
    """γ* and δ²* of one site with n subjects, by the iteration of the paper.

        γ*  = (n τ̄² γ̂ + δ²* γ̄)/(n τ̄² + δ²*)
        δ²* = (θ̄ + ½ Σ_j (Z_j - γ*)²)/(n/2 + λ̄ - 1),   Σ_j (Z_j - γ*)² = n (δ̂² + (γ̂ - γ*)²)

    Hyperparameters are those of the method of moments: γ̄ and τ̄² are mean and variance of γ̂ over features;
    with mean V̄ and variance S̄² of δ̂², λ̄ = (V̄² + 2S̄²)/S̄² and θ̄ = (V̄³ + V̄S̄²)/S̄². Numerator and denominator of
    δ²* are multiplied by S̄² here. So features with equal variances, or a single one, have δ²* = V̄.
    """
    gamma_bar, tau2_bar = gamma_hat.mean(), _variance(gamma_hat)
    v, s2 = delta2_hat.mean(), _variance(delta2_hat)
    gamma, delta2 = gamma_hat, delta2_hat
    for _ in range(_MOST_ITERATIONS):
        before = gamma, delta2
        squares = n * (delta2_hat + np.square(gamma_hat - gamma))
        delta2 = (v**3 + v * s2 + s2 * squares / 2) / (s2 * n / 2 + v**2 + s2)
        gamma = (n * tau2_bar * gamma_hat + delta2 * gamma_bar) / (n * tau2_bar + delta2)
        if all(np.abs(new - old).max() < _CLOSE for new, old in zip((gamma, delta2), before, strict=True)):
            break
    return gamma, delta2


def _scanner(z: Float64[np.ndarray, "subject feature"], name: Any) -> SiteScanner:
    """γ* and δ* of one site, from its standardised features."""
    gamma_hat, delta2_hat = z.mean(axis=0), z.var(axis=0)
    if not delta2_hat.any():
        raise UserError(f"ComBat needs two subjects with different features at every site, site {name} has "
                        f"{len(z)} without a difference")  # fmt: skip
    gamma, delta2 = posterior_means(gamma_hat, delta2_hat, len(z))
    return SiteScanner(gamma, np.sqrt(delta2))


def _variance(values: PerFeature) -> float:
    """Over features; that of a single one is 0."""
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def _deviations(values: Float64[np.ndarray, "subject m"], code: Int64[np.ndarray, " subject"]) -> np.ndarray:
    """Deviations from the means of the sites."""
    means = np.stack([values[code == i].mean(axis=0) for i in range(code.max() + 1)])
    return values - means[code]


def _numbered(site: Labels) -> tuple[Int64[np.ndarray, " subject"], list[Any]]:
    """Sites as numbers, and their labels. Raises UserError if a subject has none."""
    code, names = pd.factorize(np.asarray(site, object))
    if (code < 0).any():
        raise UserError(f"site: must have a value for every subject, number {np.argmin(code)} has none")
    return code.astype(np.int64), list(names)
