"""An adversary that tells images from reconstructions, and the matching of its features (paper, 3.3)."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from covary.config.vae import Adversary
from covary.training.device import place

_KERNEL = 5
_SLOPE = 0.01
_MOST_HALVINGS = 3
_LOGIT_LIMIT = 10.0


class Discriminator(nn.Module):
    """Convolutions whose outputs are levels of features, and a logit: is this a real image?

    At 68 pixels, three channels and width 32 it has four levels and 105,345 weights. Smaller images are
    halved less often.
    """

    def __init__(self, size_px: int, channels: int, width: int):
        super().__init__()
        grid_px, levels, inputs = size_px, [], channels
        while len(levels) < _MOST_HALVINGS and (grid_px - _KERNEL + 1) // 2 >= 1:
            norm = [nn.BatchNorm2d(inputs)] if levels else []
            convolution = nn.Conv2d(inputs, width, _KERNEL)
            levels.append(nn.Sequential(*norm, convolution, nn.MaxPool2d(2), nn.LeakyReLU(_SLOPE)))
            grid_px, inputs = (grid_px - _KERNEL + 1) // 2, width
        last = nn.Conv2d(width, 2 * width, grid_px)
        levels.append(nn.Sequential(nn.BatchNorm2d(width), last, nn.BatchNorm2d(2 * width)))
        self.levels = nn.ModuleList(levels)
        self.head = nn.Sequential(nn.LeakyReLU(_SLOPE), nn.Conv2d(2 * width, 1, 1))

    def forward(self, x: Float[Tensor, "batch c h w"]) -> tuple[list[Tensor], Float[Tensor, " batch"]]:
        """The features of each level, and the logits."""
        features = []
        for level in self.levels:
            x = level(x)
            features.append(x.float())
        return features, self.head(x).float().flatten().clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT)


class Seen(NamedTuple):
    """What a discriminator makes of a batch of real images, followed by one of as many reconstructions."""

    features: list[Float[Tensor, "..."]]  # of each level
    logits: Float[Tensor, " twice_the_batch"]
    pixel_values: int  # of the real images


class Opponent:
    """A discriminator in training beside a VAE.

    Real and reconstructed images go through it in one batch. In batches of their own, batch normalisation
    would tell them apart, and what it learns would not hold for single images. Both networks learn from this
    one pass; the loss of the VAE must be derived for the VAE's weights alone, and keep the graph.
    """

    def __init__(self, size_px: int, channels: int, config: Adversary, weight_decay: float):
        self.settings = config
        self.discriminator = place(Discriminator(size_px, channels, config.base_channels))
        self.optimiser = torch.optim.Adam(
            self.discriminator.parameters(), lr=config.learning_rate, weight_decay=weight_decay
        )

    def level_weights(self, step: int) -> list[float]:
        """Weight of each level of features that is matched; with `progressive_steps` they rise in turn."""
        n = len(self.discriminator.levels)
        n = n if self.settings.levels == "all" else n - 1
        ramp = self.settings.progressive_steps
        if ramp is None:
            return [1.0] * n
        return [min(max((step - ramp * (k + 1)) / ramp, 0.0), 1.0) for k in range(n)]

    def look(self, x: Float[Tensor, "batch c h w"], x_hat: Float[Tensor, "batch c h w"]) -> Seen:
        """One pass of real images and reconstructions."""
        features, logits = self.discriminator.train()(torch.cat([x, x_hat]))
        return Seen(features, logits, x.numel())

    def mismatch(self, seen: Seen, step: int) -> Float[Tensor, ""]:
        """Σ over levels of ‖features of x - features of x̂‖², per pixel value, batch average."""
        total = seen.logits.new_zeros(())
        for weight, level in zip(self.level_weights(step), seen.features, strict=False):
            real, drawn = level.chunk(2)
            total = total + weight * (real - drawn).square().sum()
        return total / seen.pixel_values

    def learn(self, seen: Seen) -> dict[str, Float[Tensor, ""]]:
        """One step on the cross-entropy of real or not; returns it and the share of right answers."""
        real = torch.zeros_like(seen.logits)
        real[: len(real) // 2] = 1
        # The mean over real images and the mean over reconstructions, added.
        loss = 2 * nn.functional.binary_cross_entropy_with_logits(seen.logits, real)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward(inputs=list(self.discriminator.parameters()))
        self.optimiser.step()
        return {
            "discriminator": loss.detach(),
            "discriminator_accuracy": ((seen.logits.detach() > 0) == (real > 0)).float().mean(),
        }
