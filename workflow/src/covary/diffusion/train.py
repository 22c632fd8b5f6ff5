"""Training of the generator."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel, compute_snr
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from covary.config import Generator
from covary.diffusion.generator import ImageGenerator
from covary.training import (
    Checkpoint,
    choose_device,
    device_of,
    fingerprint,
    fixed_threads,
    keyed_generator,
    mixed_precision,
    progress,
    seeded,
    shuffled_batches,
    to_unit_range,
)
from covary.vae import VAE, draw_posterior

_CHECKPOINT_STEPS = 100
_WARMUP_FRACTION = 0.05
_MAX_GRADIENT_NORM = 1.0
_SCALE_IMAGES = 1024


@fixed_threads(1)
def train_generator(
    images: UInt8[np.ndarray, "n h w"],
    mean: Float32[np.ndarray, "n latent"],
    log_variance: Float32[np.ndarray, "n latent"],
    vae: VAE,
    config: Generator,
    seed: int,
    checkpoint_dir: Path,
) -> tuple[ImageGenerator, pd.DataFrame]:
    """Fit v-prediction by AdamW, with min-SNR weights (arXiv:2303.09556) if asked, averaging the weights.

    `mean` and `log_variance` are q(z|x) of the images. With `conditioning_source: posterior_sample` each step
    draws z anew from it, so that over images z ~ N(0, I) as at sampling. Returns the generator and one row a
    hundred steps: step, loss. Resumes from `checkpoint_dir` as `train_vae` does.
    """
    device = choose_device()
    vae.eval()
    with seeded(seed, "generator_weights"):
        generator = ImageGenerator.initialise(config, vae)
    generator.residual_scale = _residual_scale(generator, images, mean)
    unet = generator.unet.train()
    optimiser = torch.optim.AdamW(unet.parameters(), lr=config.learning_rate)
    rate = get_cosine_schedule_with_warmup(optimiser, round(_WARMUP_FRACTION * config.steps), config.steps)
    average = EMAModel(unet.parameters(), decay=config.ema_decay, foreach=True)
    checkpoint = Checkpoint(
        checkpoint_dir,
        fingerprint(config, seed, images, mean, log_variance),
        unet=unet,
        optimiser=optimiser,
        rate=rate,
        average=average,
    )
    first_step, history = checkpoint.resume()
    average.to(device)  # a checkpoint is read onto the CPU
    batches_per_epoch = -(-len(images) // config.batch_size)
    losses = []
    with progress(config.steps, first_step, "train generator (steps)") as bar:
        for step in range(first_step, config.steps):
            epoch, i = divmod(step, batches_per_epoch)
            batch = shuffled_batches(seed, "generator_order", epoch, len(images), config.batch_size)[i]
            draws = keyed_generator(seed, "generator_step", step)
            z, log_var = torch.from_numpy(mean[batch]), torch.from_numpy(log_variance[batch])
            if config.conditioning_source == "posterior_sample":
                z = draw_posterior(z, log_var, draws)
            x = to_unit_range(images[batch], device)
            loss = _loss(generator, x, z.to(device), config.min_snr_gamma, draws)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(unet.parameters(), _MAX_GRADIENT_NORM)
            optimiser.step()
            rate.step()
            average.step(unet.parameters())
            losses.append(loss.detach())
            bar.update()
            if (step + 1) % _CHECKPOINT_STEPS == 0 or step + 1 == config.steps:
                history.append({"step": step + 1, "loss": torch.stack(losses).mean().item()})
                bar.set_postfix(loss=f"{history[-1]['loss']:.4f}", refresh=False)
                losses.clear()
                checkpoint.write(step + 1, history)
    average.copy_to(unet.parameters())
    checkpoint.discard()
    unet.eval()
    return generator, pd.DataFrame(history)


def _loss(
    generator: ImageGenerator,
    x: Float[Tensor, "batch 1 h w"],
    z: Float[Tensor, "batch latent"],
    min_snr_gamma: float | None,
    draws: torch.Generator,
) -> Float[Tensor, ""]:
    """Mean squared error of v at a noise level drawn for each image."""
    scheduler = generator.scheduler
    decoding = generator.decoding(z)
    x_0 = generator.diffusable(x, decoding)
    noise = torch.randn(x_0.shape, generator=draws).to(x.device)
    t = torch.randint(len(scheduler.alphas_cumprod), (len(x),), generator=draws).to(x.device)
    x_t, target = scheduler.add_noise(x_0, noise, t), scheduler.get_velocity(x_0, noise, t)
    with mixed_precision(x.device):
        v = generator.velocity(x_t, t, z, decoding)
    squared_error = (v.float() - target).square().mean(dim=(1, 2, 3))
    if min_snr_gamma is not None:
        snr = compute_snr(scheduler, t)
        squared_error = squared_error * snr.clamp(max=min_snr_gamma) / (snr + 1)
    return squared_error.mean()


@torch.no_grad()
def _residual_scale(
    generator: ImageGenerator, images: UInt8[np.ndarray, "n h w"], mean: Float32[np.ndarray, "n latent"]
) -> float:
    """Root mean square of what decodings lack, over the first images; 1 if whole images are drawn."""
    if not generator.refines_decoding:
        return 1.0
    device = device_of(generator.unet)
    decoding = generator.decoding(torch.from_numpy(mean[:_SCALE_IMAGES]).to(device))
    residual = generator.diffusable(to_unit_range(images[:_SCALE_IMAGES], device), decoding)
    return residual.square().mean().sqrt().item()
