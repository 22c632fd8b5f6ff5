"""Sampling: one image for each z, decided by it and by its subject's random stream."""

import logging

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)
from jaxtyping import Float, Float64, Int, UInt8
from torch import Tensor

from covary import rng
from covary.config.generator import Sampling
from covary.dataset.latents import Latents
from covary.diffusion.generator import ImageGenerator
from covary.diffusion.mock import mock_images
from covary.errors import UserError
from covary.images.pixels import to_uint8
from covary.jobs.progress import progress
from covary.training.device import device_of, fixed_threads, mixed_precision
from covary.training.draws import keyed_generator

log = logging.getLogger(__name__)


def initial_noise(
    seed: int, subjects: Int[np.ndarray, " n"], shape: tuple[int, ...]
) -> Float64[np.ndarray, "n ..."]:
    """x_T of each subject, from its own random stream."""
    low, high = int(subjects.min()), int(subjects.max()) + 1
    return rng.normal(seed, "initial_noise", low, high, shape)[subjects - low]


@fixed_threads(1)  # shards are drawn side by side
@torch.no_grad()
def generate(
    generator: ImageGenerator,
    z: Float[np.ndarray, "n latent"],
    subjects: Int[np.ndarray, " n"],
    config: Sampling,
    seed: int,
) -> UInt8[np.ndarray, "n c h w"]:
    """Images for z, by a solver that starts from the noise of `subjects` at t = T.

    An image depends on its own z and its subject's streams only: the batch size changes no pixel by more than
    one grey level. Solvers are deterministic but for `ddpm`, which draws from the stream of each subject.
    """
    if config.mock_images:
        log.warning("sampling.mock_images: patterns stand in for generated images")
        return mock_images(z, generator.space.size_px, generator.space.image_channels)
    generator.unet.eval()
    if config.compile:
        generator.unet.compile()
    device = device_of(generator.unet)
    space = generator.space
    images = np.empty((len(z), space.image_channels, space.size_px, space.size_px), np.uint8)
    with progress(len(z), 0, "generate images") as bar:
        for i in range(0, len(z), config.batch_size):
            part = slice(i, i + config.batch_size)
            noise = torch.from_numpy(initial_noise(seed, subjects[part], space.noise_shape))
            x = space.from_noise(noise.float().to(device))
            condition = torch.from_numpy(z[part]).float().to(device)
            decoding = generator.decoding(condition)
            later_noise = [keyed_generator(seed, "sampling_noise", int(s)) for s in subjects[part]]
            solver = _solver(config, generator.scheduler)
            for t in solver.timesteps:
                predicted = _predict(generator, x, int(t), condition, decoding, config)
                options = {"generator": later_noise} if config.solver == "ddpm" else {}
                x = solver.step(predicted, t, x, **options).prev_sample
            images[part] = to_uint8(generator.images(x, decoding))
            bar.update(len(x))
    return images


def reconstruct(
    generator: ImageGenerator,
    mean: Float[np.ndarray, "n latent"],
    log_variance: Float[np.ndarray, "n latent"],
    config: Sampling,
    seed: int,
) -> UInt8[np.ndarray, "n c h w"]:
    """Images drawn for z ~ q(z|x), which is N(mean, exp(log_variance)), of some images x."""
    noise = rng.normal(seed, "reconstruction", 0, len(mean), mean.shape[1:])
    return generate(generator, mean + np.exp(0.5 * log_variance) * noise, np.arange(len(mean)), config, seed)


def traverse(
    generator: ImageGenerator,
    varied: Int[np.ndarray, " varied"],
    values: Float[np.ndarray, " value"],
    latents: Latents,
    config: Sampling,
    seed: int,
) -> UInt8[np.ndarray, "varied value c h w"]:
    """Images of a typical z to one of whose latents `values` are added; all from one noise."""
    grid = np.tile(latents.typical(), (len(varied), len(values), 1))
    for row, latent in enumerate(varied):
        grid[row, :, latent] += values
    subjects = np.zeros(grid[..., 0].size, dtype=int)
    images = generate(generator, grid.reshape(-1, grid.shape[2]), subjects, config, seed)
    return images.reshape(*grid.shape[:2], *images.shape[1:])


def _predict(
    generator: ImageGenerator,
    x: Float[Tensor, "batch c h w"],
    t: int,
    z: Float[Tensor, "batch latent"],
    decoding: Float[Tensor, "batch c h w"] | None,
    config: Sampling,
) -> Float[Tensor, "batch c h w"]:
    """The network's prediction; with guidance, moved on from the one without z (arXiv:2207.12598)."""
    n, guided = len(x), config.guidance_scale != 1
    if guided:  # both in one pass
        x, z = torch.cat([x, x]), torch.cat([z, torch.zeros_like(z)])
        decoding = None if decoding is None else torch.cat([decoding, torch.zeros_like(decoding)])
    times = torch.full((len(x),), t, device=x.device)
    with mixed_precision(x.device, config.mixed_precision):
        predicted = generator.predict(x, times, z, decoding).float()
    if not guided:
        return predicted
    with_z, without = predicted[:n], predicted[n:]
    return without + config.guidance_scale * (with_z - without)


def _solver(config: Sampling, trained: SchedulerMixin) -> SchedulerMixin:
    """A new solver for the schedule that the network was trained on, with its timesteps set.

    Solvers keep state between steps.
    """
    match config.solver:
        case "dpmsolver++":
            solver = DPMSolverMultistepScheduler.from_config(trained.config, timestep_spacing="trailing")
        case "unipc":
            solver = UniPCMultistepScheduler.from_config(trained.config, timestep_spacing="trailing")
        case "ddim":
            solver = DDIMScheduler.from_config(trained.config, timestep_spacing="trailing")
        case "ddpm":  # as the paper's code has it, with the spacing of the schedule itself
            solver = DDPMScheduler.from_config(trained.config)
    solver.set_timesteps(config.steps)
    if "spacing" not in config.without_effect() and config.spacing != 1:
        _space_timesteps(solver, config)
    return solver


def _space_timesteps(solver: DPMSolverMultistepScheduler | UniPCMultistepScheduler, config: Sampling) -> None:
    """Put the steps at T (1 - i / steps) ** spacing. Raises UserError if two fall on one timestep.

    The images' layout is decided where the noise is large, so most of few steps belong there.
    """
    left = 1 - np.arange(config.steps) / config.steps
    timesteps = np.round(len(solver.alphas_cumprod) * left**config.spacing).astype(int) - 1
    if timesteps[-1] < 0 or (np.diff(timesteps) >= 0).any():
        raise UserError(
            f"sampling.spacing: with {config.spacing} two of {config.steps} steps fall on one timestep; "
            "give it nearer to 1, or fewer steps"
        )
    alpha_bar = solver.alphas_cumprod[timesteps]
    solver.timesteps = torch.from_numpy(timesteps)
    solver.sigmas = torch.cat([((1 - alpha_bar) / alpha_bar).sqrt(), torch.zeros(1)])
