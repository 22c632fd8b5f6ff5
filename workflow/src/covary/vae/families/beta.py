"""The Gaussian prior N(0, I) and its posterior: the β-VAE."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from covary.config.vae import Vae
from covary.vae.loss import kl_divergence, negative_log_density


class GaussianPosterior(NamedTuple):
    """q(z|x) = N(mean, diag exp(log_variance))."""

    mean: Float[Tensor, "batch latent"]
    log_variance: Float[Tensor, "batch latent"]

    @staticmethod
    def of(h: Float[Tensor, "batch two_latent"]) -> "GaussianPosterior":
        """The posterior from what an encoder gives."""
        return GaussianPosterior(*h.chunk(2, dim=1))

    def moments(self) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, "batch latent"]]:
        """Mean and log variance of z."""
        return self.mean, self.log_variance

    def gate(self) -> None:
        """There are no gates."""


class Gaussian:
    """p(z) = N(0, I)."""

    def __init__(self, config: Vae):
        pass

    def sample(self, n: int, latent_dim: int, draws: torch.Generator) -> Float[Tensor, "n latent"]:
        """z ~ p(z), on the CPU."""
        return torch.randn((n, latent_dim), generator=draws)

    def draw(self, q: GaussianPosterior, draws: torch.Generator, epoch: int) -> Float[Tensor, "batch latent"]:
        """z ~ q(z|x) by reparametrisation."""
        return draw_posterior(q.mean, q.log_variance, draws)

    def kl(self, q: GaussianPosterior) -> Float[Tensor, " latent"]:
        """KL(q(z|x) ‖ p(z)) of each latent in nats, batch average."""
        return kl_divergence(q.mean, q.log_variance)

    def negative_log_density(
        self, z: Float[Tensor, "batch latent"], q: GaussianPosterior
    ) -> Float[Tensor, " latent"]:
        """-log q(z|x) + ½ log 2π of each latent in nats, batch average."""
        return negative_log_density(z, q.mean, q.log_variance)


def draw_posterior(
    mean: Float[Tensor, "batch latent"],
    log_variance: Float[Tensor, "batch latent"],
    generator: torch.Generator,
) -> Float[Tensor, "batch latent"]:
    """z ~ N(mean, exp(log_variance)), with noise from a generator on the CPU whatever the device."""
    noise = torch.randn(mean.shape, generator=generator).to(mean.device)
    return mean + noise * torch.exp(0.5 * log_variance)
