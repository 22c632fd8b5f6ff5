"""A convolutional variational autoencoder for small grey images."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from covary.training import SavedModule

_HALVINGS = 4


class VAE(SavedModule):
    """Encoder q(z|x) = N(mean, diag exp(log_variance)) and decoder x̂(z).

    Four convolutions of stride 2 lead from `size_px` to a grid of size_px/16, doubling `base_channels` each
    time; four transposed convolutions lead back. Raises ValueError if `size_px` is not a multiple of 16.
    """

    def __init__(self, size_px: int, latent_dim: int, base_channels: int):
        super().__init__(size_px=size_px, latent_dim=latent_dim, base_channels=base_channels)
        if size_px % 2**_HALVINGS:
            raise ValueError(f"size_px must be a multiple of {2**_HALVINGS}, got {size_px}")
        self.latent_dim = latent_dim
        widths = [base_channels * 2**i for i in range(_HALVINGS)]
        grid_px = size_px // 2**_HALVINGS
        features = widths[-1] * grid_px**2
        down = zip([1, *widths], widths, strict=False)
        self.encoder = nn.Sequential(
            *(_halve(i, o) for i, o in down), nn.Flatten(), nn.Linear(features, 2 * latent_dim)
        )
        upwards = [*reversed(widths), max(base_channels // 2, 1)]
        up = pairwise(upwards)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, features),
            nn.ReLU(),
            nn.Unflatten(1, (widths[-1], grid_px, grid_px)),
            *(_double(i, o) for i, o in up),
            nn.Conv2d(upwards[-1], 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def encode(
        self, x: Float[Tensor, "batch 1 h w"]
    ) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, "batch latent"]]:
        """Mean and log variance of q(z|x) for images with values 0 … 1."""
        mean, log_variance = self.encoder(x).float().chunk(2, dim=1)
        return mean, log_variance

    def decode(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch 1 h w"]:
        """Images with values 0 … 1."""
        return self.decoder(z).float()


def draw_posterior(
    mean: Float[Tensor, "batch latent"],
    log_variance: Float[Tensor, "batch latent"],
    generator: torch.Generator,
) -> Float[Tensor, "batch latent"]:
    """z ~ q(z|x) by reparametrisation, with noise from a generator on the CPU whatever the device."""
    noise = torch.randn(mean.shape, generator=generator).to(mean.device)
    return mean + noise * torch.exp(0.5 * log_variance)


def _halve(inputs: int, outputs: int) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def _double(inputs: int, outputs: int) -> nn.Module:
    convolution = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())
