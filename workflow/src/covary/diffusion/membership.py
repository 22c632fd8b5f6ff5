"""An attack on the generator: was it trained on this image?

A network denoises what it was trained on better than other images (loss-based membership inference, Carlini
et al. 2023, arXiv:2301.13188). The attacker has the image, the generator and its VAE.

Some images are easier to denoise than others, for every network. Where the generator started from a network
that is public, the attacker divides by the error of that network, which has not seen the images (a
reference model: Watson et al. 2022, arXiv:2111.08440).
"""

import numpy as np
import torch
from jaxtyping import Float64, UInt8

from covary.config.generator import Generator
from covary.diffusion.generator import ImageGenerator
from covary.diffusion.loss import squared_errors
from covary.diffusion.spaces import LatentSpace
from covary.training.device import device_of, fixed_threads
from covary.training.draws import keyed_generator
from covary.vae import encode
from covary.wording import ATTACK, ATTACK_BY_START

# Shares of the noise schedule. Later, little of the image is left; earlier, the noise is too weak to hide it.
_TIMES = (0.1, 0.2, 0.4)
_BATCH = 64


def network_at_start(trained: ImageGenerator, config: Generator) -> ImageGenerator:
    """The generator before its training, from the file `config.start`. Raises as `read_start` does."""
    return ImageGenerator.initialise(config, trained.vae, trained.space.size_px)


def attack_errors(
    trained: ImageGenerator,
    config: Generator,
    images: UInt8[np.ndarray, "n c h w"],
    vae_images: UInt8[np.ndarray, "n c h2 w2"],
    seed: int,
) -> dict[str, Float64[np.ndarray, " n"]]:
    """What attackers compare images by: their errors and, if there is a start, these over those of the start.

    Arguments are those of `denoising_errors` and `network_at_start`, whose errors are raised.
    """
    errors = {ATTACK: denoising_errors(trained, images, vae_images, seed)}
    if config.start is not None:
        at_start = denoising_errors(network_at_start(trained, config), images, vae_images, seed)
        errors[ATTACK_BY_START] = errors[ATTACK] / at_start
    return errors


@fixed_threads(1)  # other jobs run beside it
@torch.no_grad()
def denoising_errors(
    generator: ImageGenerator,
    images: UInt8[np.ndarray, "n c h w"],
    vae_images: UInt8[np.ndarray, "n c h2 w2"],
    seed: int,
) -> Float64[np.ndarray, " n"]:
    """Geometric mean over times of the squared error of the generator's prediction, for each image.

    `images` have the generator's size, and `vae_images` are the same ones in the size of the VAE, whose
    posterior mean is the condition. At each time, all images get the same noise: it is no reason for their
    errors to differ.
    """
    generator.unet.eval()
    space, device = generator.space, device_of(generator.unet)
    mean, _ = encode(generator.vae, vae_images)
    z = torch.from_numpy(mean)
    logs = np.zeros(len(images))
    for i, time in enumerate(_TIMES):
        for start in range(0, len(images), _BATCH):
            rows = slice(start, start + _BATCH)
            stored = space.encode(images[rows]) if isinstance(space, LatentSpace) else images[rows]
            draws = keyed_generator(seed, "membership", i)
            x = space.read(stored, draws, device)
            noise = torch.randn(x.shape[1:], generator=keyed_generator(seed, "membership_noise", i))
            t = torch.full((len(x),), int(time * len(generator.scheduler.alphas_cumprod)), device=device)
            errors = squared_errors(
                generator,
                x,
                z[rows].to(device),
                noise.to(device).expand_as(x),
                t,
                torch.zeros(len(x), dtype=torch.bool, device=device),
            )
            logs[rows] += errors.double().log().cpu().numpy()
    return np.exp(logs / len(_TIMES))
