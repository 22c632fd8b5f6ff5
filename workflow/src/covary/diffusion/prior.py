"""A network of the generator that was trained before, on other images, as a start for a shorter training.

Its file holds the weights of a generator with `conditioning: decoding`, which knows z only through the VAE's
decoding. Decodings of one VAE look much like those of another, but their latents have nothing in common.
So the layers that z enters are not in the file, and start at 0: a generator that starts from the prior first
draws as the prior does, and then learns what z adds.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from covary.config.generator import Generator
from covary.training.shipped import add_checksum, description, read_description

KEY, INSTEAD = "generator.prior", "set the key to null to start from random weights"
_Z_INPUTS = ("class_embedding.linear_1.weight", "attn2.to_k.weight", "attn2.to_v.weight")


class Prior(NamedTuple):
    """Weights by name, and the scale of the residuals that they draw."""

    weights: dict[str, Tensor]
    residual_scale: float


def write_prior(
    unet: UNet2DConditionModel,
    residual_scale: float,
    config: Generator,
    size_px: int,
    channels: int,
    path: Path,
) -> None:
    """Write the weights in half precision, for images of `size_px`, and the file's checksum beside it."""
    weights = {
        name: value.half().contiguous()
        for name, value in unet.state_dict().items()
        if not name.endswith(_Z_INPUTS)
    }
    about = config.shape(size_px) | {"channels": channels, "residual_scale": residual_scale}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, description(about))
    add_checksum(path)


def read_prior(config: Generator, size_px: int, channels: int) -> Prior:
    """Read the file `config.prior` for a generator of images of `size_px`.

    Raises UserError if it is missing, damaged, or of another shape.
    """
    path, expected = Path(config.prior), config.shape(size_px) | {"channels": channels}
    about = read_description(path, expected, KEY, INSTEAD)
    weights = {name: value.float() for name, value in load_file(path).items()}
    return Prior(weights, float(about["residual_scale"]))


@torch.no_grad()
def start_from(unet: UNet2DConditionModel, prior: Prior) -> None:
    """Give the network the weights of the prior, and 0 to the layers that z enters."""
    unet.load_state_dict(
        {
            name: torch.zeros_like(value) if name.endswith(_Z_INPUTS) else prior.weights[name].to(value)
            for name, value in unet.state_dict().items()
        }
    )
