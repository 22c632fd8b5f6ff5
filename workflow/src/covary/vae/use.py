"""Encoding and decoding with a trained VAE."""

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from covary.images.pixels import to_uint8, to_unit_range
from covary.training.device import device_of, fixed_threads
from covary.vae.network import VAE

_INFERENCE_BATCH = 256


@fixed_threads(1)
@torch.no_grad()
def encode(
    vae: VAE, images: UInt8[np.ndarray, "n c h w"]
) -> tuple[Float32[np.ndarray, "n latent"], Float32[np.ndarray, "n latent"]]:
    """Mean and log variance of q(z|x) for whole images."""
    vae.eval()
    device = device_of(vae)
    parts = [vae.encode(vae.view(to_unit_range(batch, device))) for batch in batches_of(images)]
    mean, log_variance = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    return mean, log_variance


@fixed_threads(1)
@torch.no_grad()
def gates(vae: VAE, images: UInt8[np.ndarray, "n c h w"]) -> Float32[np.ndarray, "n latent"] | None:
    """How probable it is that each latent of an image is not 0; None for a network without gates."""
    vae.eval()
    device = device_of(vae)
    parts = [vae.posterior(vae.view(to_unit_range(batch, device))).gate() for batch in batches_of(images)]
    return None if parts[0] is None else torch.cat(parts).cpu().numpy()


def seen(vae: VAE, images: UInt8[np.ndarray, "n c h w"]) -> UInt8[np.ndarray, "n c h w"]:
    """Whole images as the network sees them: the middle rows, if it was trained with rows cut away."""
    return to_uint8(vae.view(to_unit_range(images, device_of(vae))))


@fixed_threads(1)
@torch.no_grad()
def decode(vae: VAE, z: Float[np.ndarray, "n latent"]) -> UInt8[np.ndarray, "n c h w"]:
    """Images that the decoder draws for z."""
    vae.eval()
    device = device_of(vae)
    parts = [vae.decode(torch.from_numpy(batch).float().to(device)) for batch in batches_of(z)]
    return to_uint8(torch.cat(parts))


def batches_of(array: np.ndarray) -> list[np.ndarray]:
    """The rows of an array in batches of the size that inference uses."""
    return [array[i : i + _INFERENCE_BATCH] for i in range(0, len(array), _INFERENCE_BATCH)]
