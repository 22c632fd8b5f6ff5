"""Convolutional variational autoencoders for images of any number of channels."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from covary.training.modules import SavedModule
from covary.training.resnet import ResNet18
from covary.vae.families.catalogue import POSTERIORS, Posterior
from covary.vae.families.cyto import cyto, last_grid_px

_COMPACT_HALVINGS = 4
_RESNET_HALVINGS = 5


class VAE(SavedModule):
    """Encoder q(z|x) and decoder x̂(z).

    Three architectures, in multiples of `base_channels`: `compact`, four convolutions of stride 2 and four
    transposed ones back; `resnet18`, which at 224 pixels, 128 latents and 64 channels is Table 3 of paper
    000; and `cyto`, which at 68 pixels, 256 latents and 32 channels is that of paper 003. Images have
    `channels` channels. `crop_rows` says how many rows of an image are cut away before the network sees it
    (`view`). `posterior` is a key of POSTERIORS.
    Raises ValueError if `size_px` is not a multiple of 16 (compact) or 32 (resnet18), or 28 and a multiple of
    8 (cyto).
    """

    def __init__(
        self,
        size_px: int,
        latent_dim: int,
        base_channels: int,
        architecture: str = "compact",
        crop_rows: int = 0,
        channels: int = 1,
        posterior: str = "gaussian",
    ):
        super().__init__(
            size_px=size_px,
            latent_dim=latent_dim,
            base_channels=base_channels,
            architecture=architecture,
            crop_rows=crop_rows,
            channels=channels,
            posterior=posterior,
        )
        self.latent_dim, self.crop_rows, self.channels = latent_dim, crop_rows, channels
        self._posterior = POSTERIORS[posterior]
        parts = len(self._posterior._fields)
        if architecture == "cyto":
            networks = cyto(last_grid_px(size_px), latent_dim, base_channels, channels, parts)
            self.encoder, self.decoder = networks
            return
        halvings, build = {
            "compact": (_COMPACT_HALVINGS, _compact),
            "resnet18": (_RESNET_HALVINGS, _table_3),
        }[architecture]
        if size_px % 2**halvings:
            raise ValueError(f"size_px must be a multiple of {2**halvings}, got {size_px}")
        self.encoder, self.decoder = build(size_px // 2**halvings, latent_dim, base_channels, channels, parts)

    def posterior(self, x: Float[Tensor, "batch c h w"]) -> Posterior:
        """q(z|x) for images with values 0 … 1."""
        return self._posterior.of(self.encoder(x).float())

    def encode(
        self, x: Float[Tensor, "batch c h w"]
    ) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, "batch latent"]]:
        """Mean and log variance of z ~ q(z|x) for images with values 0 … 1."""
        return self.posterior(x).moments()

    def decode(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch c h w"]:
        """Images with values 0 … 1; those of `cyto` may leave the range a little."""
        return self.decoder(z).float()

    def features(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch feature"]:
        """The encoder's last feature maps, averaged over the image."""
        for layer in self.encoder:
            if isinstance(layer, nn.Flatten | nn.ReLU):
                break
            x = layer(x)
        return x.float() if x.ndim == 2 else x.float().mean(dim=(2, 3))

    def view(
        self, x: Float[Tensor, "batch c h w"], first_row: Tensor | int | None = None
    ) -> Float[Tensor, "batch c h w"]:
        """What the network sees of whole images: without `crop_rows` rows, stretched to the full height.

        `first_row` of what is kept, for each image; None keeps the middle.
        """
        if not self.crop_rows:
            return x
        height = x.shape[2]
        first = torch.as_tensor(self.crop_rows // 2 if first_row is None else first_row, device=x.device)
        rows = first.expand(len(x))[:, None] + torch.arange(height - self.crop_rows, device=x.device)
        kept = x.gather(2, rows[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3]))
        return nn.functional.interpolate(kept, size=(height, x.shape[3]), mode="bilinear")


def _compact(
    grid_px: int, latent_dim: int, width: int, channels: int, parts: int
) -> tuple[nn.Sequential, nn.Sequential]:
    """Four convolutions of stride 2, doubling the width each time, and four transposed ones back."""
    widths = [width * 2**i for i in range(_COMPACT_HALVINGS)]
    features = widths[-1] * grid_px**2
    down = zip([channels, *widths], widths, strict=False)
    encoder = nn.Sequential(
        *(_halve(i, o) for i, o in down), nn.Flatten(), nn.Linear(features, parts * latent_dim)
    )
    upwards = [*reversed(widths), max(width // 2, 1)]
    decoder = nn.Sequential(
        nn.Linear(latent_dim, features),
        nn.ReLU(),
        nn.Unflatten(1, (widths[-1], grid_px, grid_px)),
        *(_double(i, o) for i, o in pairwise(upwards)),
        nn.Conv2d(upwards[-1], channels, 3, padding=1),
        nn.Sigmoid(),
    )
    return encoder, decoder


def _table_3(
    grid_px: int, latent_dim: int, width: int, channels: int, parts: int
) -> tuple[nn.Sequential, nn.Sequential]:
    """The paper's Table 3: ResNet-18, then pairs of convolutions, with nearest upsampling between."""
    encoder = nn.Sequential(
        ResNet18(width, None, channels), nn.ReLU(), _Posterior(8 * width, latent_dim, parts)
    )
    # 1024 → 512 ↑ 512 → 256 ↑ 256 → 128 ↑ 128 → 64 ↑ 64 → 32 ↑ 32 → channels at width 64.
    widths = [8 * width // 2**i for i in range(_RESNET_HALVINGS)]
    decoder = nn.Sequential(
        nn.Linear(latent_dim, 16 * width * grid_px**2),
        nn.ReLU(),
        nn.Unflatten(1, (16 * width, grid_px, grid_px)),
        *_convolution(16 * width, widths[0]),
        nn.Upsample(scale_factor=2),
    )
    for wide, narrow in pairwise(widths):
        decoder.extend([*_convolution(wide, wide), *_convolution(wide, narrow), nn.Upsample(scale_factor=2)])
    decoder.extend(
        [*_convolution(widths[-1], widths[-1]), nn.Conv2d(widths[-1], channels, 3, padding=1), nn.Sigmoid()]
    )
    return encoder, decoder


class _Posterior(nn.Module):
    """One dense layer for the mean, one for the log variance and one for gates if there are any."""

    def __init__(self, features: int, latent_dim: int, parts: int):
        super().__init__()
        self.mean = nn.Linear(features, latent_dim)
        self.log_variance = nn.Linear(features, latent_dim)
        self.gates = nn.ModuleList(nn.Linear(features, latent_dim) for _ in range(parts - 2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([layer(x) for layer in (self.mean, self.log_variance, *self.gates)], dim=1)


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]


def _halve(inputs: int, outputs: int) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def _double(inputs: int, outputs: int) -> nn.Module:
    convolution = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())
