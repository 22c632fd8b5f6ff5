"""A Stable Diffusion of the same format, far smaller, with random weights."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

# The schedule of Stable Diffusion 1.5.
SCHEDULE = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "clip_sample": False,
}


def tiny_unet(cross_attention_dim: int = 768) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=cross_attention_dim,
        attention_head_dim=2,
        norm_num_groups=4,
    )


def tiny_autoencoder(channels: int = 3) -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
        scaling_factor=0.18215,
    )


def save_tiny_stable_diffusion(directory: Path) -> Path:
    """Write unet/, vae/ and scheduler/ as diffusers lays them out."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tiny_unet().save_pretrained(directory / "unet")
        tiny_autoencoder().save_pretrained(directory / "vae")
    DDPMScheduler(**SCHEDULE).save_pretrained(directory / "scheduler")
    return directory
