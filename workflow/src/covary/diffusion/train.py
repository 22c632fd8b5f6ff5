"""Training of the generator."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel, compute_snr
from jaxtyping import Float32, UInt8

from covary.config import Generator
from covary.diffusion.generator import ImageGenerator, fold
from covary.training import (
    Checkpoint,
    choose_device,
    fingerprint,
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


def train_generator(
    images: UInt8[np.ndarray, "n h w"],
    mean: Float32[np.ndarray, "n latent"],
    log_variance: Float32[np.ndarray, "n latent"],
    vae: VAE,
    config: Generator,
    seed: int,
    checkpoint_dir: Path,
) -> tuple[ImageGenerator, pd.DataFrame]:
    """Fit v-prediction with min-SNR weights (arXiv:2303.09556) by AdamW, averaging the weights.

    `mean` and `log_variance` are q(z|x) of the images. With `conditioning_source: posterior_sample` each step
    draws z anew from it, so that over images z ~ N(0, I) as at sampling. Returns the generator and one row a
    hundred steps: step, loss. Resumes from `checkpoint_dir` as `train_vae` does.
    """
    device = choose_device()
    vae.eval()
    with seeded(seed, "generator_weights"):
        generator = ImageGenerator.initialise(config, vae)
    unet, scheduler = generator.unet.train(), generator.scheduler
    optimiser = torch.optim.AdamW(unet.parameters(), lr=config.learning_rate)
    rate = get_cosine_schedule_with_warmup(optimiser, round(_WARMUP_FRACTION * config.steps), config.steps)
    average = EMAModel(unet.parameters(), decay=config.ema_decay, foreach=True)
    average.to(device)
    checkpoint = Checkpoint(
        checkpoint_dir,
        fingerprint(config, seed, images, mean, log_variance),
        unet=unet,
        optimiser=optimiser,
        rate=rate,
        average=average,
    )
    step, history = checkpoint.resume()
    posterior = torch.from_numpy(mean), torch.from_numpy(log_variance)
    losses = []
    with progress(config.steps, step, "train generator (steps)") as bar:
        while step < config.steps:
            epoch, i = divmod(step, -(-len(images) // config.batch_size))
            for batch in shuffled_batches(seed, "generator_order", epoch, len(images), config.batch_size)[i:]:
                draws = keyed_generator(seed, "generator_step", step)
                z, log_var = (part[batch] for part in posterior)
                if config.conditioning_source == "posterior_sample":
                    z = draw_posterior(z, log_var, draws)
                z = z.to(device)
                x_0 = fold(2 * to_unit_range(images[batch], device) - 1, config.patch_px)
                noise = torch.randn(x_0.shape, generator=draws).to(device)
                t = torch.randint(len(scheduler.alphas_cumprod), (len(batch),), generator=draws).to(device)
                x_t, target = scheduler.add_noise(x_0, noise, t), scheduler.get_velocity(x_0, noise, t)
                snr = compute_snr(scheduler, t)
                with mixed_precision(device):
                    v = generator.velocity(x_t, t, z, generator.decoding(z))
                    squared_error = (v.float() - target).square().mean(dim=(1, 2, 3))
                    loss = (squared_error * snr.clamp(max=config.min_snr_gamma) / (snr + 1)).mean()
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(unet.parameters(), _MAX_GRADIENT_NORM)
                optimiser.step()
                rate.step()
                average.step(unet.parameters())
                losses.append(loss.detach())
                step += 1
                bar.update()
                if step % _CHECKPOINT_STEPS == 0 or step == config.steps:
                    history.append({"step": step, "loss": torch.stack(losses).mean().item()})
                    bar.set_postfix(loss=f"{history[-1]['loss']:.4f}", refresh=False)
                    losses.clear()
                    checkpoint.write(step, history)
                if step == config.steps:
                    break
    average.copy_to(unet.parameters())
    checkpoint.discard()
    unet.eval()
    return generator, pd.DataFrame(history)
