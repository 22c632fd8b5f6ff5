"""The spike-and-slab prior and its posterior: variational sparse coding (Tonolini et al. 2020, paper 2.3)."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from covary.config.vae import Vae

_LOG_VARIANCE_RANGE = (-16.0, 8.0)  # beyond it, exponentials overflow and trainings diverge
_LEAST_GATE = 1e-6  # inside the KL, whose logarithms are infinite at 0 and 1


class SpikeSlabPosterior(NamedTuple):
    """q(z|x) = Π γ N(mean, exp(log_variance)) + (1 - γ) δ(0), with γ = exp(log_gate) ≤ 1."""

    mean: Float[Tensor, "batch latent"]
    log_variance: Float[Tensor, "batch latent"]
    log_gate: Float[Tensor, "batch latent"]

    @staticmethod
    def of(h: Float[Tensor, "batch three_latent"]) -> "SpikeSlabPosterior":
        """The posterior from what an encoder gives; γ = sigmoid(h).

        The public code has log γ = -ReLU(-h), which is nearly the same far from h = 0. But it has no gradient
        where h > 0, so that gates that are open by chance at the start stay open.
        """
        mean, log_variance, gate = h.chunk(3, dim=1)
        log_gate = torch.nn.functional.logsigmoid(gate)
        return SpikeSlabPosterior(mean, log_variance.clamp(*_LOG_VARIANCE_RANGE), log_gate)

    def moments(self) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, "batch latent"]]:
        """Mean γμ and log variance of z: γ(σ² + μ²) - (γμ)²."""
        gate = self.log_gate.exp()
        mean = gate * self.mean
        variance = gate * (self.log_variance.exp() + (1 - gate) * self.mean.square())
        return mean, variance.clamp(min=math.exp(_LOG_VARIANCE_RANGE[0])).log()

    def gate(self) -> Float[Tensor, "batch latent"]:
        """γ, the probability that a latent is not 0."""
        return self.log_gate.exp()


def draw_gated(
    mean: Float[Tensor, "batch latent"],
    log_variance: Float[Tensor, "batch latent"],
    gate: Float[Tensor, "batch latent"],
    generator: torch.Generator,
) -> Float[Tensor, "batch latent"]:
    """z ~ q(z|x) from the moments of z and γ, on the CPU; exactly 0 where a gate is closed.

    With mean m and variance v of z, the slab is N(m/γ, v/γ - (1 - γ)(m/γ)²).
    """
    slab_mean = mean / gate
    slab_variance = log_variance.exp() / gate - (1 - gate) * slab_mean.square()
    noise = torch.randn(mean.shape, generator=generator)
    is_open = torch.rand(mean.shape, generator=generator) < gate
    return torch.where(is_open, slab_mean + slab_variance.clamp(min=0).sqrt() * noise, 0.0)


class SpikeSlab:
    """p(z) = Π α N(0, 1) + (1 - α) δ(0) (paper, equation 4)."""

    def __init__(self, config: Vae):
        self.settings = config.sparsity

    def sample(self, n: int, latent_dim: int, draws: torch.Generator) -> Float[Tensor, "n latent"]:
        """z ~ p(z), on the CPU; exactly 0 where the gate is closed."""
        slab = torch.randn((n, latent_dim), generator=draws)
        return slab * (torch.rand((n, latent_dim), generator=draws) < self.settings.alpha)

    def draw(
        self, q: SpikeSlabPosterior, draws: torch.Generator, epoch: int
    ) -> Float[Tensor, "batch latent"]:
        """s(μ + σε), where s is a gate that can be differentiated; noise from a generator on the CPU.

        `reference`: s = sigmoid(c(η + γ - 1)) with η ~ U(0, 1), so that s tends to a Bernoulli draw of
        probability γ as the steepness c grows. `paper`: s = sigmoid(γ + η - 1) with η ~ N(0, 1).
        """
        device = q.mean.device
        noise = torch.randn(q.mean.shape, generator=draws).to(device)
        gate = q.log_gate.exp()
        if self.settings.gate == "paper":
            eta = torch.randn(q.mean.shape, generator=draws).to(device)
            selector = torch.sigmoid(gate + eta - 1)
        else:
            eta = torch.rand(q.mean.shape, generator=draws).to(device)
            steepness = self.settings.steepness + self.settings.steepness_growth * epoch
            selector = torch.sigmoid(steepness * (eta + gate - 1))
        return selector * (q.mean + noise * torch.exp(0.5 * q.log_variance))

    def kl(self, q: SpikeSlabPosterior) -> Float[Tensor, " latent"]:
        """KL(q(z|x) ‖ p(z)) of each latent in nats, batch average.

        ½γ(μ² + σ² - 1 - log σ²) + (1 - γ) log[(1 - γ)/(1 - α)] + γ log(γ/α). The paper's formula has the last
        two terms with the other sign.
        """
        alpha = self.settings.alpha
        gate = q.log_gate.exp().clamp(_LEAST_GATE, 1 - _LEAST_GATE)
        slab = 0.5 * gate * (q.mean.square() + q.log_variance.exp() - 1 - q.log_variance)
        spike = (1 - gate) * torch.log((1 - gate) / (1 - alpha)) + gate * torch.log(gate / alpha)
        return (slab + spike).mean(dim=0)

    def negative_log_density(
        self, z: Float[Tensor, "batch latent"], q: SpikeSlabPosterior
    ) -> Float[Tensor, " latent"]:
        """-log q(z|x) of each latent in nats, batch average, less ½ log 2π for each open gate."""
        gate = q.log_gate.exp().clamp(_LEAST_GATE, 1 - _LEAST_GATE)
        slab = 0.5 * (q.log_variance + (z - q.mean).square() * torch.exp(-q.log_variance)) - gate.log()
        return torch.where(z == 0, -torch.log1p(-gate), slab).mean(dim=0)
