"""The likelihood of a record given an image, for N(mean, V) that is narrow compared with the likelihood.

log p(y | η) is expanded to second order near the mode of p(η | y, image), so that its integral has a closed
form. Where the likelihood is skewed, mode and mean differ. Gauss-Hermite quadrature corrects for this.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from scipy.special import logsumexp
from torch import Tensor

from covary import nlme
from covary.nlme.likelihood import Expansion
from covary.predict.evidence import Posteriors

_NEWTON_STEPS = 3
_TRUST_RADIUS = 2.0  # longest step, in standard deviations of V
_NODES = 3  # of the quadrature, per random effect


class Expansions(NamedTuple):
    """log p(y | η)/p(y) of some subjects to second order, each around a point of its own.

    `rest` is the difference that the higher orders make to the logarithm of the integral over N(mean, V), and
    `rest_slope` its gradient in `mean`. Both are small. They are needed all the same: a record with little
    information gives the expansion almost no gradient, so that the error of the expansion would decide the
    mean.
    """

    subjects: Int[Tensor, " some"]
    centre: Float[Tensor, "some k"]
    value: Float[Tensor, " some"]
    gradient: Float[Tensor, "some k"]
    information: Float[Tensor, "some k k"]
    mean: Float[Tensor, "some k"]
    rest: Float[Tensor, " some"]
    rest_slope: Float[Tensor, "some k"]

    def log_ratio(
        self, mean: Float[Tensor, "some k"], covariance: Float[Tensor, "k k"]
    ) -> Float[Tensor, " some"]:
        """log p(y | image)/p(y) with eta_hat | image ~ N(mean, V).

        With g the gradient and G the information at e, the integral of exp(g'(η - e) - ½(η - e)'G(η - e))
        over N(mean, V) is |I + GV|^-½ exp(-½ d'(I + GV)⁻¹G d + g'(I + VG)⁻¹d + ½ g'V(I + GV)⁻¹g) with
        d = mean - e.
        """
        d = mean - self.centre
        system = torch.eye(mean.shape[1]).to(mean) + self.information @ covariance
        solved = torch.linalg.solve(system, torch.cat([self.information, self.gradient[..., None]], dim=2))
        flattened, slope = solved[..., :-1], solved[..., -1]  # (I + GV)⁻¹G, (I + GV)⁻¹g
        return (
            self.value
            - 0.5 * torch.logdet(system)
            - 0.5 * torch.einsum("nk,nkj,nj->n", d, flattened, d)
            + (slope * d).sum(dim=1)
            + 0.5 * torch.einsum("nk,kj,nj->n", self.gradient, covariance, slope)
            + self.rest
            + (self.rest_slope * (mean - self.mean)).sum(dim=1)
        )


def expand_near_mode(
    subjects: Int[Tensor, " some"],
    mean: Float[Tensor, "some k"],
    covariance: Float[Tensor, "k k"],
    evidence: Posteriors,
    start: Float[Tensor, "some k"],
) -> Expansions:
    """Expand around a point near the mode of each subject, found by a search from `start`.

    `evidence` is that of the subjects. Subjects whose structural model cannot be solved there are left out.
    """
    here, v = mean.cpu().numpy(), covariance.cpu().numpy()
    centre, near = _conditional_mode(here, v, evidence, start.cpu().numpy())
    rest, rest_slope = _rest(here, v, evidence, centre, near)
    value = near.value - np.nan_to_num(evidence.log_marginal)
    valid = np.isfinite(value)
    fields = centre, value, near.gradient, near.information, here, rest, rest_slope
    return Expansions(
        subjects[torch.from_numpy(valid).to(subjects.device)],
        *(torch.from_numpy(field[valid]).to(mean) for field in fields),
    )


def _rest(
    mean: Float64[np.ndarray, "some k"],
    covariance: Float64[np.ndarray, "k k"],
    evidence: Posteriors,
    centre: Float64[np.ndarray, "some k"],
    near: Expansion,
) -> tuple[Float64[np.ndarray, " some"], Float64[np.ndarray, "some k"]]:
    """What the expansion leaves out of the logarithm of the integral, and its gradient in the mean."""
    precision = np.linalg.inv(covariance)
    spread = np.linalg.inv(precision + near.information)
    # By the expansion, p(η | y, image) is normal. This is its mean relative to the centre; `spread` its
    # covariance.
    middle = np.einsum("nij,nj->ni", spread, near.gradient - (centre - mean) @ precision)
    node, log_weight = nlme.normal_quadrature(_NODES, len(covariance))
    away = middle[:, None] + np.einsum("nij,mj->nmi", np.linalg.cholesky(spread), node)
    expanded = (
        near.value[:, None]
        + np.einsum("nmi,ni->nm", away, near.gradient)
        - 0.5 * np.einsum("nmi,nij,nmj->nm", away, near.information, away)
    )
    solved = np.isfinite(near.value)
    true = evidence.likelihood.log_density(centre[:, None] + away, evidence.rows)
    terms = log_weight + true - np.where(solved[:, None], expanded, 0.0)
    rest = logsumexp(terms, axis=1)
    solved &= np.isfinite(rest)
    rest = np.where(solved, rest, 0.0)
    expected = np.einsum("nm,nmi->ni", np.exp(terms - rest[:, None]), away)
    # d/dmean log p(y | image) = V⁻¹(E[η | y, image] - mean), and the expansion has `middle` for E.
    return rest, np.where(solved[:, None], (expected - middle) @ precision, 0.0)


def _conditional_mode(
    mean: Float64[np.ndarray, "batch k"],
    covariance: Float64[np.ndarray, "k k"],
    evidence: Posteriors,
    start: Float64[np.ndarray, "batch k"],
) -> tuple[Float64[np.ndarray, "batch k"], Expansion]:
    """A point near the mode of p(η | y, image), by Gauss-Newton from `start`, and the expansion there."""
    centre = start
    at = evidence.likelihood.expand(centre, evidence.rows)
    precision = np.linalg.inv(covariance)
    identity = np.eye(len(covariance))
    for _ in range(_NEWTON_STEPS):
        away = centre - mean
        slope = at.gradient - away @ precision
        system = identity + covariance @ at.information
        step = np.linalg.solve(system, (slope @ covariance)[..., None])[..., 0]
        length = np.sqrt(np.einsum("nk,kj,nj->n", step, precision, step))
        step *= np.minimum(1.0, _TRUST_RADIUS / np.maximum(length, 1e-300))[:, None]
        there = evidence.likelihood.expand(centre + step, evidence.rows)
        before = at.value - 0.5 * np.einsum("nk,kj,nj->n", away, precision, away)
        away = away + step
        better = there.value - 0.5 * np.einsum("nk,kj,nj->n", away, precision, away) > before
        centre = np.where(better[:, None], centre + step, centre)
        at = Expansion(
            *(
                np.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)
                for new, old in zip(there, at, strict=True)
            )
        )
    return centre, at
