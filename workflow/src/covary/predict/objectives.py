"""What a predictor is trained for.

An objective is a module: called with predicted random effects and the evidence of the same subjects, it
returns a loss for each. Its `validate` returns the mean loss of subjects that are not trained on.
"""

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn

from covary.predict.evidence import Posteriors, Targets
from covary.predict.likelihood import Expansion

_LOW_SAMPLE_SIZE = 8.0  # effective draws below which a subject's likelihood is expanded instead
_FLOOR_SD = 0.01  # of what an image cannot explain, in units of a random effect
_NEWTON_STEPS = 1
_FIT_ROUNDS, _FIT_ITERATIONS, _FIT_NEWTON_STEPS = 4, 20, 3
_FIT_TOLERANCE = 1e-4  # of a subject's loss; V starts where the epoch before left it, mostly near
_TRUST_RADIUS = 2.0  # standard deviations of V that one step may go
_LOG_2PI = math.log(2 * math.pi)


class MeanSquaredError(nn.Module):
    """Squared error of the targets. With empirical Bayes estimates (paper), what it learns is shrunk."""

    def forward(self, mean: Float[Tensor, "batch k"], evidence: Targets) -> Float[Tensor, " batch"]:
        """Squared error, averaged over random effects."""
        return (mean - torch.from_numpy(evidence.value).to(mean)).square().mean(dim=1)

    @torch.no_grad()
    def validate(self, mean: Float[Tensor, "subject k"], evidence: Targets) -> float:
        """Mean loss."""
        return self(mean, evidence).mean().item()


class MarginalLikelihood(nn.Module):
    """-log p(y | image) with eta_hat | image ~ N(mean, V), less the constant -log p(y).

    With posterior draws η_k under the prior N(0, Ω) the loss is -log 1/K Σ_k N(η_k; mean, V)/N(η_k; 0, Ω):
    no bias from shrinkage, since the draws carry the whole posterior. Where few draws lie where N(mean, V)
    does, because the image says more than the record, the likelihood is expanded to second order around the
    mode of p(η | y, image) instead, and the integral over N(mean, V) has a closed form that stays exact as
    V → 0. V starts at Ω, is not below a floor, and is fitted to subjects that are not trained on: errors on
    training subjects get small by overfitting, and a V that followed them would drive the network further.
    """

    def __init__(self, omega: Float[np.ndarray, "k k"], structure: Literal["full", "diagonal"] = "full"):
        super().__init__()
        factor = np.linalg.cholesky(omega)
        start = np.diag(np.log(np.diag(factor)))
        if structure == "full":
            start = start + np.tril(factor, -1)
        self.structure = structure
        self.register_buffer("omega_factor", torch.from_numpy(factor))
        self.factor = nn.Parameter(torch.from_numpy(start))

    def covariance(self) -> Float64[Tensor, "k k"]:
        """V, what the image cannot explain of eta_hat."""
        factor = self.factor.diagonal().exp().diag()
        if self.structure == "full":
            factor = factor + self.factor.tril(-1)
        return factor @ factor.T + _FLOOR_SD**2 * torch.eye(len(factor)).to(factor)

    def forward(
        self, mean: Float[Tensor, "batch k"], evidence: Posteriors, expansions: "Expansions | None" = None
    ) -> Float[Tensor, " batch"]:
        """Loss of each subject; which likelihoods are expanded, and where, may be given."""
        mean, covariance = mean.double(), self.covariance()
        weights = self._log_weights(mean, covariance, evidence)
        log_ratio = weights.logsumexp(dim=1) - math.log(weights.shape[1])
        # The logarithm of a mean of K draws is too small by about half its relative variance.
        log_ratio = log_ratio + 0.5 * (1 / _sample_size(weights) - 1 / weights.shape[1])
        if expansions is None:
            mean_now = mean.detach()
            expansions = self._expand(
                mean_now, covariance.detach(), weights.detach(), evidence, mean_now, _NEWTON_STEPS
            )
        some = expansions.subjects
        return -log_ratio.index_put((some,), expansions.log_ratio(mean[some], covariance))

    @torch.no_grad()
    def expansions(
        self, mean: Float[Tensor, "batch k"], evidence: Posteriors, start: Float[Tensor, "batch k"]
    ) -> "Expansions":
        """Those that `forward` needs at the present V, nearer to the mode than it takes them itself.

        They are sought from `start`, which is moved to where they are.
        """
        mean, covariance = mean.double(), self.covariance()
        weights = self._log_weights(mean, covariance, evidence)
        found = self._expand(mean, covariance, weights, evidence, start, _FIT_NEWTON_STEPS)
        start[found.subjects] = found.centre
        return found

    def validate(self, mean: Float[Tensor, "subject k"], evidence: Posteriors) -> float:
        """Give V its maximum-likelihood value for these predictions, and return the mean loss there.

        All predictions may move by a constant first, as `calibrate` moves them in the end.
        """
        shift = torch.zeros(mean.shape[1], dtype=torch.float64, requires_grad=True)
        fitted = [*self.parameters(), shift]
        optimiser = torch.optim.LBFGS(
            fitted,
            max_iter=_FIT_ITERATIONS,
            tolerance_change=_FIT_TOLERANCE / 1000,
            line_search_fn="strong_wolfe",
        )
        start, least, kept = mean.double().clone(), math.inf, [value.detach().clone() for value in fitted]
        for rounds_left in reversed(range(_FIT_ROUNDS + 1)):
            # As long as the expansions stay, the likelihood is smooth in V; where V moves far, they mislead.
            expansions = self.expansions(mean + shift.detach(), evidence, start)

            def closure(expansions=expansions):
                optimiser.zero_grad()
                loss = self(mean + shift, evidence, expansions).mean()
                loss.backward()
                return loss

            gain = least - (loss := closure().item())
            if gain > 0:
                least, kept = loss, [value.detach().clone() for value in fitted]
            if abs(gain) < _FIT_TOLERANCE or not rounds_left:
                break
            optimiser.step(closure)
            optimiser.state.clear()
        with torch.no_grad():
            for value, best in zip(fitted, kept, strict=True):
                value.copy_(best)
        return least

    def _log_weights(self, mean, covariance, evidence) -> Float[Tensor, "batch draw"]:
        draws = torch.from_numpy(evidence.draws).to(mean)
        return _log_normal(draws, mean, torch.linalg.cholesky(covariance)) - _log_normal(
            draws, torch.zeros_like(mean), self.omega_factor
        )

    def _expand(self, mean, covariance, weights, evidence, start, newton_steps) -> "Expansions":
        unknown = torch.from_numpy(~np.isfinite(evidence.log_marginal)).to(mean.device)
        few = ((_sample_size(weights) < _LOW_SAMPLE_SIZE) | unknown).nonzero()[:, 0]
        some = evidence[few.cpu().numpy()]
        centre, at = _conditional_mode(
            mean[few].cpu().numpy(), covariance.cpu().numpy(), some, start[few].cpu().numpy(), newton_steps
        )
        valid = np.isfinite(at.value)
        offset = at.value - np.nan_to_num(some.log_marginal)
        return Expansions(
            few[torch.from_numpy(valid).to(few.device)],
            *(torch.from_numpy(a[valid]).to(mean) for a in (centre, offset, at.gradient, at.information)),
        )


def make_objective(
    name: str, omega: Float[np.ndarray, "k k"], structure: Literal["full", "diagonal"] = "full"
) -> nn.Module:
    """The objective of this name in the configuration."""
    return MarginalLikelihood(omega, structure) if name == "marginal_likelihood" else MeanSquaredError()


class Expansions(NamedTuple):
    """log p(y | η)/p(y) of some subjects to second order around a point each."""

    subjects: Int[Tensor, " some"]
    centre: Float[Tensor, "some k"]
    value: Float[Tensor, " some"]
    gradient: Float[Tensor, "some k"]
    information: Float[Tensor, "some k k"]

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
        )


def _sample_size(log_weights: Float[Tensor, "batch draw"]) -> Float[Tensor, " batch"]:
    """How many draws the weighted ones are worth."""
    return 1 / log_weights.softmax(dim=1).square().sum(dim=1)


def _log_normal(
    x: Float[Tensor, "batch draw k"], mean: Float[Tensor, "batch k"], factor: Float[Tensor, "k k"]
) -> Float[Tensor, "batch draw"]:
    """Log density of N(mean, factor factor')."""
    z = torch.linalg.solve_triangular(factor, (x - mean[:, None]).mT, upper=False)
    return -0.5 * z.square().sum(dim=1) - factor.diagonal().log().sum() - 0.5 * len(factor) * _LOG_2PI


def _conditional_mode(
    mean: Float64[np.ndarray, "batch k"],
    covariance: Float64[np.ndarray, "k k"],
    evidence: Posteriors,
    start: Float64[np.ndarray, "batch k"],
    newton_steps: int,
) -> tuple[Float64[np.ndarray, "batch k"], Expansion]:
    """A point near the mode of p(η | y, image), by Gauss-Newton from `start`, and the expansion there."""
    centre = start
    at = evidence.likelihood.expand(centre, evidence.rows)
    precision = np.linalg.inv(covariance)
    identity = np.eye(len(covariance))
    for _ in range(newton_steps):
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
