"""A network of the generator that was trained before, on other images, as a start for a shorter training.

Its file holds the weights of a generator with `conditioning: decoding`, which knows z only through the VAE's
decoding. Decodings of one VAE look much like those of another, but their latents have nothing in common.
So the layers that z enters are not in the file, and start at 0: a generator that starts from the file first
draws as the network of the file does, and then learns what z adds.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from covary.config.generator import Generator
from covary.training.weights import read_weights, write_weights

KEY, INSTEAD = "generator.start", "set the key to null to start from random weights"
_Z_INPUTS = ("class_embedding.linear_1.weight", "attn2.to_k.weight", "attn2.to_v.weight")


class Start(NamedTuple):
    """Weights by name, and the scale of the residuals that they draw."""

    weights: dict[str, Tensor]
    residual_scale: float


def write_start(
    unet: UNet2DConditionModel,
    residual_scale: float,
    config: Generator,
    size_px: int,
    channels: int,
    path: Path,
) -> None:
    """Write the weights in half precision, for images of `size_px`, and the file's checksum beside it."""
    weights = {k: value for k, value in unet.state_dict().items() if not k.endswith(_Z_INPUTS)}
    about = config.shape(size_px) | {"channels": channels, "residual_scale": residual_scale}
    write_weights(weights, about, path)


def read_start(config: Generator, size_px: int, channels: int) -> Start:
    """Read the file `config.start` for a generator of images of `size_px`.

    Raises UserError if it is missing, damaged, or of another shape.
    """
    expected = config.shape(size_px) | {"channels": channels}
    about, weights = read_weights(Path(str(config.start)), expected, KEY, INSTEAD)
    return Start(weights, float(about["residual_scale"]))


@torch.no_grad()
def start_from(unet: UNet2DConditionModel, start: Start) -> None:
    """Give the network the weights of the file, and 0 to the layers that z enters."""
    unet.load_state_dict(
        {
            name: torch.zeros_like(value) if name.endswith(_Z_INPUTS) else start.weights[name].to(value)
            for name, value in unet.state_dict().items()
        }
    )
