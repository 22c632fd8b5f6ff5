"""Training of the generator."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from diffusers.optimization import get_constant_schedule, get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from jaxtyping import Bool, Float, Float32, Int64, Shaped
from torch import Tensor

from covary.config.generator import Generator
from covary.diffusion.generator import ImageGenerator
from covary.diffusion.loss import reading_errors, squared_errors
from covary.errors import UserError
from covary.jobs.progress import progress
from covary.training.checkpoint import Checkpoint, fingerprint
from covary.training.device import device_of, fixed_threads
from covary.training.draws import keyed_generator, seeded, shuffled_batches
from covary.vae import VAE
from covary.vae.conditioning import READABLE_VARIANCE, conditioning

_WARMUP_FRACTION = 0.05
_DREAMS = 6  # one z ~ N(0, I) is drawn for so many images
_SCALE_IMAGES = 1024


@fixed_threads(1)
def train_generator(
    data: Shaped[np.ndarray, "n ..."],
    mean: Float32[np.ndarray, "n latent"],
    log_variance: Float32[np.ndarray, "n latent"],
    vae: VAE,
    size_px: int,
    config: Generator,
    seed: int,
    checkpoint_dir: Path,
    *,
    gate: Float32[np.ndarray, "n latent"] | None = None,
) -> tuple[ImageGenerator, pd.DataFrame]:
    """Fit the network by AdamW, averaging its weights.

    `data` are images of `size_px` (uint8) or, with `config.pretrained`, their posterior parameters in
    the space of its autoencoder (`cache_latents`). `mean` and `log_variance` are q(z|x) of the images. With
    `conditioning_source: posterior_sample` each step draws z anew from it, so that over images z is
    distributed nearly as in subjects. `gate` is γ of a spike-and-slab posterior. With `reading_weight` each
    step also draws some z ~ N(0, I), and the encoder must read them from the images drawn for them. Raises
    UserError if it reads no latent from images.

    Runs on as many devices as processes were launched by accelerate; each gets its share of the same batch
    with the same draws, so their number matters only to rounding. Returns the generator and one row every
    `checkpoint_steps`: step, loss. Resumes from `checkpoint_dir` as `train_vae` does.
    """
    vae.eval().requires_grad_(False)
    accelerator = Accelerator(mixed_precision=_precision(config))
    main, device = accelerator.is_main_process, accelerator.device
    with seeded(seed, "generator_weights"):
        generator = ImageGenerator.initialise(config, vae, size_px)
    if config.start is None:
        generator.residual_scale = _residual_scale(generator, data, mean)
    unet = generator.unet.train()
    sd = mean.std(axis=0)
    readable = _readable(sd, config).to(device)
    if config.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    optimiser, rate = _optimiser(unet, config)
    average = EMAModel(unet.parameters(), decay=config.ema_decay, foreach=True)
    parts = {"unet": unet, "optimiser": optimiser, "rate": rate, "average": average}
    if accelerator.scaler is not None:
        parts["scaler"] = accelerator.scaler
    checkpoint = Checkpoint(
        checkpoint_dir,
        fingerprint(config, seed, data, mean, log_variance, *([] if gate is None else [gate])),
        keep=config.checkpoints_kept,
        **parts,
    )
    first_step, history = checkpoint.resume()
    average.to(device)  # a checkpoint is read onto the CPU
    generator.unet, optimiser = accelerator.prepare(unet, optimiser)
    if config.compile:
        generator.unet.compile()
    batches_per_epoch = -(-len(data) // config.batch_size)
    losses = []
    with progress(config.steps, first_step, "train generator (steps)", hidden=not main) as bar:
        for step in range(first_step, config.steps):
            epoch, i = divmod(step, batches_per_epoch)
            batch = shuffled_batches(seed, "generator_order", epoch, len(data), config.batch_size)[i]
            draws = keyed_generator(seed, "generator_step", step)
            share = slice(accelerator.process_index, None, accelerator.num_processes)
            some = (data[batch], mean[batch], log_variance[batch], sd)
            of_gate = None if gate is None else gate[batch]
            drawn = _draw(generator, *some, config, draws, device, of_gate).of(share)
            # Processes add up to the mean over the whole batch, of which each may have another share.
            errors = squared_errors(generator, **vars(drawn), min_snr_gamma=config.min_snr_gamma)
            loss = errors.sum() / len(batch)
            if config.reading_weight > 0:
                n = max(1, len(batch) // _DREAMS)
                dreamt = [part[share] for part in _dream(generator, n, draws, device)]
                misread = reading_errors(generator, *dreamt, readable)
                loss = loss + config.reading_weight * misread.sum() / n
            optimiser.zero_grad(set_to_none=True)
            accelerator.backward(loss * accelerator.num_processes)
            accelerator.clip_grad_norm_(unet.parameters(), config.max_gradient_norm)
            optimiser.step()
            rate.step()
            average.step(unet.parameters())
            losses.append(loss.detach())
            bar.update()
            if (step + 1) % config.checkpoint_steps == 0 or step + 1 == config.steps:
                total = accelerator.reduce(torch.stack(losses).mean(), reduction="sum")
                history.append({"step": step + 1, "loss": total.item()})
                bar.set_postfix(loss=f"{history[-1]['loss']:.4f}", refresh=False)
                losses.clear()
                if main:
                    checkpoint.write(step + 1, history)
                accelerator.wait_for_everyone()
    generator.unet = accelerator.unwrap_model(generator.unet, keep_fp32_wrapper=False)
    average.copy_to(unet.parameters())
    if main:
        checkpoint.discard()
    unet.eval()
    return generator, pd.DataFrame(history)


def _optimiser(
    unet: torch.nn.Module, config: Generator
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW and the schedule of its step size."""
    optimiser = torch.optim.AdamW(
        unet.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    if config.learning_rate_schedule == "constant":
        return optimiser, get_constant_schedule(optimiser)
    warmup = round(_WARMUP_FRACTION * config.steps)
    return optimiser, get_cosine_schedule_with_warmup(optimiser, warmup, config.steps)


def _readable(sd: Float32[np.ndarray, " latent"], config: Generator) -> Bool[Tensor, " latent"]:
    """Which latents the encoder reads from images; UserError if one is needed and there is none."""
    readable = torch.from_numpy(sd**2 > READABLE_VARIANCE)
    if config.reading_weight > 0 and not readable.any():
        raise UserError(
            "generator.reading_weight: the encoder reads no latent from the images (variance of a posterior "
            f"mean above {READABLE_VARIANCE}); train the image VAE longer, or set the key to 0"
        )
    return readable


@dataclass(frozen=True)
class _Drawn:
    """All that is random in a training step."""

    x: Float[Tensor, "batch c h w"]
    z: Float[Tensor, "batch latent"]
    noise: Float[Tensor, "batch c h w"]
    t: Int64[Tensor, " batch"]
    without_z: Bool[Tensor, " batch"]

    def of(self, share: slice) -> "_Drawn":
        return _Drawn(*(value[share] for value in vars(self).values()))


def _draw(
    generator: ImageGenerator,
    data: Shaped[np.ndarray, "n ..."],
    mean: Float32[np.ndarray, "n latent"],
    log_variance: Float32[np.ndarray, "n latent"],
    sd: Float32[np.ndarray, " latent"],
    config: Generator,
    draws: torch.Generator,
    device: torch.device,
    gate: Float32[np.ndarray, "n latent"] | None = None,
) -> _Drawn:
    z = conditioning(mean, log_variance, sd, config.conditioning_source, draws, gate)
    x = generator.space.read(data, draws, device)
    noise = torch.randn(x.shape, generator=draws)
    t = _stratified_timesteps(len(x), len(generator.scheduler.alphas_cumprod), draws)
    without_z = torch.zeros(len(x), dtype=torch.bool)
    if config.noise_offset > 0:
        noise = noise + config.noise_offset * torch.randn((*x.shape[:2], 1, 1), generator=draws)
    if config.condition_dropout > 0:
        without_z = torch.rand(len(x), generator=draws) < config.condition_dropout
    return _Drawn(x, z.to(device), noise.to(device), t.to(device), without_z.to(device))


def _dream(
    generator: ImageGenerator, n: int, draws: torch.Generator, device: torch.device
) -> tuple[Float[Tensor, "n latent"], Float[Tensor, "n c h w"], Int64[Tensor, " n"]]:
    """z ~ N(0, I), noise and timesteps."""
    space = generator.space
    z = torch.randn((n, generator.vae.latent_dim), generator=draws)
    noise = torch.randn((n, space.channels, space.grid_px, space.grid_px), generator=draws)
    t = _stratified_timesteps(n, len(generator.scheduler.alphas_cumprod), draws)
    return z.to(device), noise.to(device), t.to(device)


def _stratified_timesteps(n: int, timesteps: int, draws: torch.Generator) -> Int64[Tensor, " n"]:
    """A uniform draw from each of n equal parts of the schedule: less noisy gradients than n free draws."""
    drawn = (torch.arange(n) + torch.rand(n, generator=draws, dtype=torch.float64)) / n * timesteps
    return drawn.long().clamp(max=timesteps - 1)


def _precision(config: Generator) -> str:
    if config.mixed_precision == "auto":
        return "bf16" if torch.cuda.is_available() else "no"
    return config.mixed_precision


@torch.no_grad()
def _residual_scale(
    generator: ImageGenerator, data: Shaped[np.ndarray, "n ..."], mean: Float32[np.ndarray, "n latent"]
) -> float:
    """Root mean square of what decodings lack, over the first images; 1 if whole images are drawn."""
    if not generator.refines_decoding:
        return 1.0
    device = device_of(generator.unet)
    decoding = generator.decoding(torch.from_numpy(mean[:_SCALE_IMAGES]).to(device))
    x = generator.space.read(data[:_SCALE_IMAGES], torch.Generator(), device)
    return generator.diffusable(x, decoding).square().mean().sqrt().item()
