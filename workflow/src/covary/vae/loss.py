"""The terms of the β-VAE loss and its warm-up."""

import torch
from jaxtyping import Float
from torch import Tensor


def kl_divergence(
    mean: Float[Tensor, "batch latent"], log_variance: Float[Tensor, "batch latent"]
) -> Float[Tensor, " latent"]:
    """KL(N(mean, exp(log_variance)) ‖ N(0, 1)) of each latent in nats, averaged over the batch."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean(dim=0)


def with_free_bits(kl: Float[Tensor, " latent"], free_bits: float) -> Float[Tensor, ""]:
    """Sum over latents of the KL, below `free_bits` nats counted as `free_bits` (Kingma et al. 2016,
    arXiv:1606.04934, eq. 15): a latent that carries less pays nothing for carrying more."""
    return kl.clamp(min=free_bits).sum()


def warmed_up_beta(epochs_seen: float, beta: float, warmup_epochs: float) -> float:
    """β rising linearly from 0 to `beta` over the first `warmup_epochs` (paper, section 2.1)."""
    return beta if epochs_seen >= warmup_epochs else beta * epochs_seen / warmup_epochs


def negative_log_density(
    z: Float[Tensor, "batch latent"],
    mean: Float[Tensor, "batch latent"],
    log_variance: Float[Tensor, "batch latent"],
) -> Float[Tensor, " latent"]:
    """-log N(z; mean, exp(log_variance)) + ½ log 2π of each latent in nats, batch average."""
    return 0.5 * (log_variance + (z - mean).square() * torch.exp(-log_variance)).mean(dim=0)
