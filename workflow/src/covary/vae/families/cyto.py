"""The convolutional networks of CytoVAE (Lafarge et al. 2019; paper 003, section 3.1)."""

import torch
from torch import Tensor, nn

_KERNEL = 5
_SLOPE = 0.01  # of leaky rectifiers below 0
_HALVINGS = 3
_BORDER_PX = 28  # what the convolutions of the encoder take off, at the scale of the image


def last_grid_px(size_px: int) -> int:
    """Side of the last feature maps of the encoder: 5 for cells of 68 pixels.

    Raises ValueError if the decoder cannot come back to `size_px`.
    """
    grid_px, rest = divmod(size_px - _BORDER_PX, 2**_HALVINGS)
    if rest or grid_px < 1:
        raise ValueError(f"size_px must be {_BORDER_PX} and a multiple of 8, got {size_px}")
    return grid_px


def cyto(
    grid_px: int, latent_dim: int, width: int, channels: int, parts: int
) -> tuple[nn.Sequential, nn.Sequential]:
    """Three convolutions with max-pooling and one that covers what is left; the decoder mirrors them.

    At 68 pixels, three channels, 256 latents and width 32 it has 747,107 weights with a Gaussian posterior
    and 952,675 with a spike-and-slab one.
    """
    encoder = nn.Sequential(
        *(_halve(i, width) for i in (channels, width, width)),
        nn.Conv2d(width, parts * latent_dim, grid_px),
        nn.BatchNorm2d(parts * latent_dim),
        nn.Flatten(),
        _LogVariance(latent_dim),
    )
    decoder = nn.Sequential(
        nn.Unflatten(1, (latent_dim, 1, 1)),
        *_widen(latent_dim, width, grid_px),
        *(layer for _ in range(_HALVINGS) for layer in (nn.Upsample(scale_factor=2), *_widen(width, width))),
        nn.Conv2d(width, channels, 1),
        nn.LeakyReLU(_SLOPE),
    )
    return encoder, decoder


class _LogVariance(nn.Module):
    """The networks give log σ; log σ² goes on."""

    def __init__(self, latent_dim: int):
        super().__init__()
        self.latent_dim = latent_dim

    def forward(self, h: Tensor) -> Tensor:
        mean, log_sd, *gate = h.split(self.latent_dim, dim=1)
        return torch.cat([mean, 2 * log_sd, *gate], dim=1)


def _halve(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, _KERNEL), nn.MaxPool2d(2), nn.LeakyReLU(_SLOPE), nn.BatchNorm2d(outputs)
    )


def _widen(inputs: int, outputs: int, kernel: int = _KERNEL) -> list[nn.Module]:
    """A convolution whose output is wider than its input by kernel - 1 pixels."""
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel - 1)
    return [convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(_SLOPE)]
