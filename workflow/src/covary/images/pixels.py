"""Stored grey levels as tensors, and back."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def to_unit_range(images: UInt8[np.ndarray, "n h w"], device: torch.device) -> Float[Tensor, "n 1 h w"]:
    """Grey levels 0 … 255 as floats 0 … 1 with a channel axis."""
    return torch.tensor(images).to(device).unsqueeze(1).float() / 255


def to_grey(x: Float[Tensor, "n 1 h w"]) -> UInt8[np.ndarray, "n h w"]:
    """Values 0 … 1, clipped, as grey levels 0 … 255."""
    return (x.clamp(0, 1) * 255).round().to(torch.uint8).squeeze(1).cpu().numpy()
