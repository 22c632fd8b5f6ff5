"""Stored pixel values as tensors, and back."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def to_unit_range(images: UInt8[np.ndarray, "n c h w"], device: torch.device) -> Float[Tensor, "n c h w"]:
    """Values 0 … 255 as floats 0 … 1."""
    return torch.tensor(images).to(device).float() / 255


def to_uint8(x: Float[Tensor, "n c h w"]) -> UInt8[np.ndarray, "n c h w"]:
    """Values 0 … 1, clipped, as whole numbers 0 … 255."""
    return (x.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
