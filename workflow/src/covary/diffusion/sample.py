"""Sampling: one deterministic image for each z and initial noise."""

import numpy as np
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, SchedulerMixin, UniPCMultistepScheduler
from jaxtyping import Float, UInt8

from covary import rng
from covary.config import Sampling
from covary.diffusion.generator import ImageGenerator, fold
from covary.training import device_of, fixed_threads, mixed_precision, progress, to_grey


def initial_noise(seed: int, start: int, stop: int, size_px: int) -> Float[np.ndarray, "n h w"]:
    """x_T of the subjects `start … stop - 1`, each from its own random stream."""
    return rng.normal(seed, "initial_noise", start, stop, (size_px, size_px))


@fixed_threads(1)  # shards are drawn side by side
@torch.no_grad()
def generate(
    generator: ImageGenerator,
    z: Float[np.ndarray, "n latent"],
    noise: Float[np.ndarray, "n h w"],
    config: Sampling,
) -> UInt8[np.ndarray, "n h w"]:
    """Grey images for z, by a solver of the probability-flow ODE from `noise` at t = T.

    An image depends on its own z and noise only: the batch size changes no pixel by more than one grey level.
    """
    generator.unet.eval()
    device = device_of(generator.unet)
    images = []
    with progress(len(z), 0, "generate images") as bar:
        for i in range(0, len(z), config.batch_size):
            part = slice(i, i + config.batch_size)
            condition = torch.from_numpy(z[part]).float().to(device)
            x = fold(torch.from_numpy(noise[part]).float().to(device).unsqueeze(1), generator.patch_px)
            decoding = generator.decoding(condition)
            solver = _solver(config.solver, generator.scheduler)
            solver.set_timesteps(config.steps)
            for t in solver.timesteps:
                times = torch.full((len(x),), int(t), device=device)
                with mixed_precision(device):
                    v = generator.velocity(x, times, condition, decoding)
                x = solver.step(v.float(), t, x).prev_sample
            images.append(to_grey(generator.image(x, decoding)))
            bar.update(len(x))
    return np.concatenate(images)


def _solver(name: str, trained: SchedulerMixin) -> SchedulerMixin:
    """A new solver for the schedule the network was trained on; solvers keep state between steps."""
    match name:
        case "dpmsolver++":
            return DPMSolverMultistepScheduler.from_config(trained.config, timestep_spacing="trailing")
        case "unipc":
            return UniPCMultistepScheduler.from_config(trained.config, timestep_spacing="trailing")
        case "ddim":
            return DDIMScheduler.from_config(trained.config, timestep_spacing="trailing")
    raise ValueError(f"sampling.solver must be one of dpmsolver++, unipc, ddim, got {name}")
