"""Similarity of images, pixel by pixel."""

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int, UInt8
from torchmetrics.functional.image import structural_similarity_index_measure

from covary.images.pixels import to_unit_range
from covary.quality.neighbours import nearest
from covary.training.device import fixed_threads

_NEAREST_PX = 64  # side at which nearest images are sought
_BATCH = 256


def mean_squared_error(a: UInt8[np.ndarray, "n c h w"], b: UInt8[np.ndarray, "n c h w"]) -> float:
    """Mean squared error per pixel and channel, with values 0 … 1."""
    return float(np.square((a.astype(np.float32) - b) / 255).mean(dtype=np.float64))


@fixed_threads(1)
def structural_similarity(a: UInt8[np.ndarray, "n c h w"], b: UInt8[np.ndarray, "n c h w"]) -> float:
    """Mean SSIM (Wang et al. 2004, doi:10.1109/TIP.2003.819861), Gaussian window of σ = 1.5 pixels."""
    device = torch.device("cpu")
    return structural_similarity_index_measure(
        to_unit_range(a, device), to_unit_range(b, device), data_range=1.0
    ).item()


def nearest_by_pixels(
    images: UInt8[np.ndarray, "n c h w"], among: UInt8[np.ndarray, "m c h2 w2"]
) -> tuple[Int[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """For each image the number of the nearest of others, and their mean squared error (values 0 … 1).

    Both sets are compared at no more than 64 × 64 pixels.
    """
    queries = pixels(images)
    found = nearest(queries, pixels(among))
    return found.index, np.square(found.distance) / queries.shape[1]


@fixed_threads(1)
@torch.no_grad()
def pixels(images: UInt8[np.ndarray, "n c h w"]) -> Float32[np.ndarray, "n pixel"]:
    """Values 0 … 1 of images reduced to no more than 64 × 64 pixels."""
    side, cpu = min(_NEAREST_PX, images.shape[-1]), torch.device("cpu")
    batches = (to_unit_range(images[i : i + _BATCH], cpu) for i in range(0, len(images), _BATCH))
    reduced = [torch.nn.functional.adaptive_avg_pool2d(x, side).flatten(1) for x in batches]
    return torch.cat(reduced).numpy()
