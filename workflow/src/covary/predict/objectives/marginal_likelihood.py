"""What a predictor is trained for.

An objective is a module: called with predicted random effects and the evidence of the same subjects, it
returns a loss for each. Its `validate` returns the mean loss of subjects that are not trained on.
"""

import math
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from covary.predict.evidence import Posteriors
from covary.predict.objectives.expansion import Expansions, expand_near_mode

# Effective draws below which a subject's likelihood is expanded instead. Draws pull the mean towards
# themselves by the inverse of this number, and they are where estimates are shrunk to.
_LOW_SAMPLE_SIZE = 20.0
_FLOOR_SD = 0.01  # of what an image cannot explain, in units of a random effect
_MEMORY_SUBJECTS = 2000  # over which second moments of predictions are averaged in training
_FIT_ROUNDS, _FIT_ITERATIONS = 4, 20
_FIT_TOLERANCE = 1e-4  # of a subject's loss; V starts where the epoch before left it, mostly near
_LOG_2PI = math.log(2 * math.pi)


class MarginalLikelihood(nn.Module):
    """-log p(y | image) with eta_hat | image ~ N(mean, V), less the constant -log p(y).

    With posterior draws η_k under the prior N(0, Ω) the loss is -log 1/K Σ_k N(η_k; mean, V)/N(η_k; 0, Ω):
    no bias from shrinkage, since the draws carry the whole posterior. Where few draws lie where N(mean, V)
    does, because the image says more than the record, the likelihood is expanded to second order around the
    mode of p(η | y, image) instead (`expansion`), which stays exact as V → 0. V starts at Ω, is not below a
    floor, and is fitted to subjects that are not trained on: errors on training subjects get small by
    overfitting, and a V that followed them would drive the network further.

    Where records say little, nothing in them holds a mean, and a few would run far out. But what predictions
    explain and what they leave is the population, E[mean mean'] + V = Ω, so the loss also has the divergence
    of N(0, E[mean mean'] + V) from N(0, Ω). It is 0 for a true predictor, which a shrinking prior is not.
    """

    def __init__(self, omega: Float[np.ndarray, "k k"], structure: Literal["full", "diagonal"] = "full"):
        super().__init__()
        factor = np.linalg.cholesky(omega)
        start = np.diag(np.log(np.diag(factor)))
        if structure == "full":
            start = start + np.tril(factor, -1)
        self.structure = structure
        self.register_buffer("omega_factor", torch.from_numpy(factor))
        self.register_buffer("second_moments", torch.zeros_like(self.omega_factor))
        self.register_buffer("fitted", torch.tensor(False))  # whether V is
        self.factor = nn.Parameter(torch.from_numpy(start))

    def covariance(self) -> Float64[Tensor, "k k"]:
        """V, what the image cannot explain of eta_hat."""
        factor = self.factor.diagonal().exp().diag()
        if self.structure == "full":
            factor = factor + self.factor.tril(-1)
        return factor @ factor.T + _FLOOR_SD**2 * torch.eye(len(factor)).to(factor)

    def forward(self, mean: Float[Tensor, "batch k"], evidence: Posteriors) -> Float[Tensor, " batch"]:
        """Loss of each subject, of which the divergence is there by its gradient.

        The second moments are a running average, because those of a small batch have too large an inverse.
        """
        loss, mean = self.minus_log_likelihood(mean, evidence), mean.double()
        with torch.no_grad():
            weight = min(1.0, len(mean) / _MEMORY_SUBJECTS)
            self.second_moments.lerp_(mean.T @ mean / len(mean), weight)
            pull = self._pull()
        return loss + 0.5 * torch.einsum("nk,kj,nj->n", mean, pull, mean)

    def minus_log_likelihood(
        self, mean: Float[Tensor, "batch k"], evidence: Posteriors, expansions: Expansions | None = None
    ) -> Float[Tensor, " batch"]:
        """-log(p(y | image)/p(y)) of each subject; which are expanded, and where, may be given."""
        mean, covariance = mean.double(), self.covariance()
        weights = self._log_weights(mean, covariance, evidence)
        log_ratio = weights.logsumexp(dim=1) - math.log(weights.shape[1])
        # The logarithm of a mean of K draws is too small by about half its relative variance.
        log_ratio = log_ratio + 0.5 * (1 / _sample_size(weights) - 1 / weights.shape[1])
        if expansions is None:
            expansions = self._expand(mean.detach(), covariance.detach(), weights.detach(), evidence)
        some = expansions.subjects
        return -log_ratio.index_put((some,), expansions.log_ratio(mean[some], covariance))

    @torch.no_grad()
    def expansions(self, mean: Float[Tensor, "batch k"], evidence: Posteriors) -> Expansions:
        """Those that `minus_log_likelihood` needs at the present V."""
        mean, covariance = mean.double(), self.covariance()
        return self._expand(mean, covariance, self._log_weights(mean, covariance, evidence), evidence)

    def validate(self, mean: Float[Tensor, "subject k"], evidence: Posteriors) -> float:
        """Give V the value that is best for these predictions, and return the mean loss there.

        All predictions may move by a constant first, as `calibrate` moves them in the end.
        """
        shift = torch.zeros(mean.shape[1], dtype=torch.float64, device=mean.device, requires_grad=True)
        values = [*self.parameters(), shift]
        optimiser = torch.optim.LBFGS(
            values,
            max_iter=_FIT_ITERATIONS,
            tolerance_change=_FIT_TOLERANCE / 1000,
            line_search_fn="strong_wolfe",
        )
        least, kept = math.inf, [value.detach().clone() for value in values]
        for rounds_left in reversed(range(_FIT_ROUNDS + 1)):
            # As long as the expansions stay, the loss is smooth in V; where V moves far, they mislead.
            expansions = self.expansions(mean + shift.detach(), evidence)

            def closure(expansions=expansions):
                optimiser.zero_grad()
                loss = self._loss(mean + shift, evidence, expansions)
                loss.backward()
                return loss

            gain = least - (loss := closure().item())
            if gain > 0:
                least, kept = loss, [value.detach().clone() for value in values]
            if abs(gain) < _FIT_TOLERANCE or not rounds_left:
                break
            if gain > 0:
                optimiser.step(closure)
                optimiser.state.clear()
            else:  # They did.
                with torch.no_grad():
                    torch._foreach_lerp_(values, kept, 0.5)
        with torch.no_grad():
            torch._foreach_copy_(values, kept)
            self.fitted.fill_(True)
        return least

    def _pull(self) -> Float64[Tensor, "k k"]:
        """Ω⁻¹ - T⁻¹ with T = E[mean mean'] + V: by how much of itself the divergence draws each mean back."""
        inverse = torch.linalg.inv(self.omega_factor)
        together = self.second_moments + self.covariance() if self.fitted else self.second_moments
        share, axes = torch.linalg.eigh(inverse @ together @ inverse.T)
        if not self.fitted:  # Then V is what the means leave of Ω, and only a mean beyond it is drawn back.
            share = share.clamp(min=1.0)
        axes = inverse.T @ axes
        return (axes * (1 - 1 / share)) @ axes.T

    def _loss(self, mean, evidence, expansions) -> Float[Tensor, ""]:
        """The mean loss, with the divergence of these very subjects."""
        mean = mean.double()
        together = mean.T @ mean / len(mean) + self.covariance()
        ratio = torch.cholesky_solve(together, self.omega_factor)
        divergence = 0.5 * (ratio.trace() - len(ratio) - together.logdet())
        divergence = divergence + self.omega_factor.diagonal().log().sum()
        return self.minus_log_likelihood(mean, evidence, expansions).mean() + divergence

    def _log_weights(self, mean, covariance, evidence) -> Float[Tensor, "batch draw"]:
        draws = torch.from_numpy(evidence.draws).to(mean)
        return _log_normal(draws, mean, torch.linalg.cholesky(covariance)) - _log_normal(
            draws, torch.zeros_like(mean), self.omega_factor
        )

    def _expand(self, mean, covariance, weights, evidence) -> Expansions:
        unknown = torch.from_numpy(~np.isfinite(evidence.log_marginal)).to(mean.device)
        few = ((_sample_size(weights) < _LOW_SAMPLE_SIZE) | unknown).nonzero()[:, 0]
        # Where an image is off and the record sharp, the heaviest draw is nearer to the mode than the mean.
        heaviest = evidence.draws[few.cpu().numpy(), weights[few].argmax(dim=1).cpu().numpy()]
        start = torch.where(unknown[few, None], mean[few], torch.from_numpy(heaviest).to(mean))
        return expand_near_mode(few, mean[few], covariance, evidence[few.cpu().numpy()], start)


def _sample_size(log_weights: Float[Tensor, "batch draw"]) -> Float[Tensor, " batch"]:
    """How many draws the weighted ones are worth."""
    return 1 / log_weights.softmax(dim=1).square().sum(dim=1)


def _log_normal(
    x: Float[Tensor, "batch draw k"], mean: Float[Tensor, "batch k"], factor: Float[Tensor, "k k"]
) -> Float[Tensor, "batch draw"]:
    """Log density of N(mean, factor factor')."""
    z = torch.linalg.solve_triangular(factor, (x - mean[:, None]).mT, upper=False)
    return -0.5 * z.square().sum(dim=1) - factor.diagonal().log().sum() - 0.5 * len(factor) * _LOG_2PI
