"""The objective `marginal_likelihood`: the likelihood of a record given the image of its subject.

An objective is a module. It takes predicted random effects and the evidence of the same subjects, and returns
one loss per subject. Its `validate` returns the mean loss of subjects that are not used for training.
"""

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from covary.predict.evidence import Posteriors
from covary.predict.objectives.expansion import Expansions, expand_near_mode

# With fewer effective draws than this, a subject's likelihood is expanded instead. The sum over draws biases
# the mean towards the draws, by about the inverse of this number, and draws lie near the shrunken estimates.
_LOW_SAMPLE_SIZE = 20.0
_FLOOR_SD = 0.01  # least standard deviation in V; random effects have about 1
_MEMORY_SUBJECTS = 2000  # second moments of predictions are averaged over about this many
_FIT_ROUNDS, _FIT_ITERATIONS = 4, 20
# In the loss per subject. V starts at its value after the epoch before. Of the loss of 400 subjects, fitting
# the six numbers of V takes off some 6/800 by chance.
_FIT_TOLERANCE = 1e-3
_LOG_2PI = math.log(2 * math.pi)


class _Drawn(NamedTuple):
    """Subjects whose likelihood is a mean over draws, and the log density of these under the prior."""

    subjects: Int64[Tensor, " some"]
    draws: Float[Tensor, "some draw k"]
    log_prior: Float[Tensor, "some draw"]


class MarginalLikelihood(nn.Module):
    """-log p(y | image) with eta_hat | image ~ N(mean, V), less the constant -log p(y).

    With draws η_k from the posterior under the prior N(0, Ω), the loss of a subject is -log 1/K Σ_k N(η_k;
    mean, V)/N(η_k; 0, Ω). It has no bias from shrinkage, because the draws represent the whole posterior. If
    the image is more informative than the record, few draws lie where N(mean, V) is large. The likelihood is
    then expanded to second order around the mode of p(η | y, image) (`expansion`). This is exact as V → 0.

    V starts at Ω and has a floor. It is fitted to subjects that are not used for training: errors on training
    subjects become small by overfitting, and a V fitted to them would increase the overfitting.

    A record with little information does not constrain its mean, and some means would become very large. For
    correct predictions, E[mean mean'] + V = Ω holds. The loss therefore also has the Kullback-Leibler
    divergence of N(0, E[mean mean'] + V) from N(0, Ω). The divergence is 0 for correct predictions; a penalty
    on the size of means would not be.
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
        self.register_buffer("fitted", torch.tensor(False))  # whether V has been fitted yet
        self.factor = nn.Parameter(torch.from_numpy(start))

    def covariance(self) -> Float64[Tensor, "k k"]:
        """V, the covariance of eta_hat that the image cannot explain."""
        factor = self.factor.diagonal().exp().diag()
        if self.structure == "full":
            factor = factor + self.factor.tril(-1)
        return factor @ factor.T + _FLOOR_SD**2 * torch.eye(len(factor)).to(factor)

    def forward(self, mean: Float[Tensor, "batch k"], evidence: Posteriors) -> Float[Tensor, " batch"]:
        """Loss of each subject. In place of the divergence it has a term with the gradient of the divergence.

        The second moments are a running average, because the inverse of those of one small batch is too
        large.
        """
        loss, mean = self.minus_log_likelihood(mean, evidence), mean.double()
        with torch.no_grad():
            weight = min(1.0, len(mean) / _MEMORY_SUBJECTS)
            self.second_moments.lerp_(mean.T @ mean / len(mean), weight)
            pull = self._pull()
        return loss + 0.5 * torch.einsum("nk,kj,nj->n", mean, pull, mean)

    def minus_log_likelihood(
        self, mean: Float[Tensor, "batch k"], evidence: Posteriors
    ) -> Float[Tensor, " batch"]:
        """-log(p(y | image)/p(y)) of each subject, with expansions that are made here, at `mean`."""
        mean, everyone = mean.double(), np.arange(len(mean))
        drawn, covariance = self._drawn(everyone, mean, evidence), self.covariance()
        weights = self._log_weights(mean, covariance, drawn)
        expansions = self._expand(mean.detach(), covariance.detach(), weights.detach(), evidence)
        some = expansions.subjects
        return -_log_mean(weights).index_put((some,), expansions.log_ratio(mean[some], covariance))

    def validate(self, mean: Float[Tensor, "subject k"], evidence: Posteriors) -> float:
        """Fit V to these predictions by L-BFGS, and return the mean loss with the fitted V.

        The fit also has a constant that is added to all predictions, because `calibrate` centres them later.
        """
        shift = torch.zeros(mean.shape[1], dtype=torch.float64, device=mean.device, requires_grad=True)
        values = [*self.parameters(), shift]
        optimiser = torch.optim.LBFGS(
            values,
            max_iter=_FIT_ITERATIONS,
            tolerance_change=_FIT_TOLERANCE / 1e4,
            line_search_fn="strong_wolfe",
        )
        least, kept = math.inf, [value.detach().clone() for value in values]
        for rounds_left in reversed(range(_FIT_ROUNDS + 1)):
            # With fixed expansions the loss is smooth in V. They are valid near the V they were made for
            # only.
            expansions = self._expansions(mean.double() + shift.detach(), evidence)
            others = np.setdiff1d(np.arange(len(mean)), expansions.subjects.cpu().numpy())
            drawn = self._drawn(others, mean.double(), evidence)

            def closure(expansions=expansions, drawn=drawn):
                optimiser.zero_grad()
                loss = self._loss(mean.double() + shift, expansions, drawn)
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
            else:  # The step with the old expansions made the loss worse: go back half of the way.
                with torch.no_grad():
                    torch._foreach_lerp_(values, kept, 0.5)
        with torch.no_grad():
            torch._foreach_copy_(values, kept)
            self.fitted.fill_(True)
        return least

    def _pull(self) -> Float64[Tensor, "k k"]:
        """Ω⁻¹ - T⁻¹ with T = E[mean mean'] + V; times a mean, the divergence's gradient in it."""
        inverse = torch.linalg.inv(self.omega_factor)
        together = self.second_moments + self.covariance() if self.fitted else self.second_moments
        share, axes = torch.linalg.eigh(inverse @ together @ inverse.T)
        if not self.fitted:  # V is taken as the rest of Ω: only second moments above Ω are penalised
            share = share.clamp(min=1.0)
        axes = inverse.T @ axes
        return (axes * (1 - 1 / share)) @ axes.T

    def _loss(self, mean, expansions: Expansions, drawn: "_Drawn") -> Float[Tensor, ""]:
        """The mean loss, with the divergence computed from these subjects."""
        covariance = self.covariance()
        together = mean.T @ mean / len(mean) + covariance
        ratio = torch.cholesky_solve(together, self.omega_factor)
        divergence = 0.5 * (ratio.trace() - len(ratio) - together.logdet())
        divergence = divergence + self.omega_factor.diagonal().log().sum()
        weights = self._log_weights(mean[drawn.subjects], covariance, drawn)
        log_ratio = mean.new_zeros(len(mean)).index_put((drawn.subjects,), _log_mean(weights))
        some = expansions.subjects
        log_ratio = log_ratio.index_put((some,), expansions.log_ratio(mean[some], covariance))
        return -log_ratio.mean() + divergence

    def _drawn(self, subjects: Int64[np.ndarray, " some"], mean, evidence: Posteriors) -> "_Drawn":
        """The draws of some subjects, as tensors like `mean`."""
        draws = torch.from_numpy(evidence.draws[subjects]).to(mean)
        centre = torch.zeros_like(draws[:, 0])
        place = torch.from_numpy(subjects).to(mean.device)
        return _Drawn(place, draws, _log_normal(draws, centre, self.omega_factor))

    def _log_weights(self, mean, covariance, drawn: "_Drawn") -> Float[Tensor, "some draw"]:
        return _log_normal(drawn.draws, mean, torch.linalg.cholesky(covariance)) - drawn.log_prior

    @torch.no_grad()
    def _expansions(self, mean, evidence: Posteriors) -> Expansions:
        """The expansions of the subjects that need one at the present V."""
        covariance, everyone = self.covariance(), np.arange(len(mean))
        weights = self._log_weights(mean, covariance, self._drawn(everyone, mean, evidence))
        return self._expand(mean, covariance, weights, evidence)

    def _expand(self, mean, covariance, weights, evidence) -> Expansions:
        unknown = torch.from_numpy(~np.isfinite(evidence.log_marginal)).to(mean.device)
        few = ((_sample_size(weights) < _LOW_SAMPLE_SIZE) | unknown).nonzero()[:, 0]
        # If the prediction is wrong and the record informative, the draw with the greatest weight is nearer
        # to the mode than the predicted mean is.
        heaviest = evidence.draws[few.cpu().numpy(), weights[few].argmax(dim=1).cpu().numpy()]
        start = torch.where(unknown[few, None], mean[few], torch.from_numpy(heaviest).to(mean))
        return expand_near_mode(few, mean[few], covariance, evidence[few.cpu().numpy()], start)


def _log_mean(log_weights: Float[Tensor, "batch draw"]) -> Float[Tensor, " batch"]:
    """The logarithm of the mean weight, corrected for its bias.

    The logarithm of a mean of K draws is too low by about half of the relative variance of that mean.
    """
    log_mean = log_weights.logsumexp(dim=1) - math.log(log_weights.shape[1])
    return log_mean + 0.5 * (1 / _sample_size(log_weights) - 1 / log_weights.shape[1])


def _sample_size(log_weights: Float[Tensor, "batch draw"]) -> Float[Tensor, " batch"]:
    """Effective sample size of weighted draws, (Σ w)²/Σ w²."""
    return 1 / log_weights.softmax(dim=1).square().sum(dim=1)


def _log_normal(
    x: Float[Tensor, "batch draw k"], mean: Float[Tensor, "batch k"], factor: Float[Tensor, "k k"]
) -> Float[Tensor, "batch draw"]:
    """Log density of N(mean, factor factor')."""
    z = torch.linalg.solve_triangular(factor, (x - mean[:, None]).mT, upper=False)
    return -0.5 * z.square().sum(dim=1) - factor.diagonal().log().sum() - 0.5 * len(factor) * _LOG_2PI
