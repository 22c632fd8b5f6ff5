"""Networks of Stable Diffusion and its like, from a local directory or the Hugging Face hub."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

from covary.errors import UserError

_FILES = (
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "scheduler/scheduler_config.json",
)


def check_source(source: str) -> None:
    """Raise UserError naming the first file that a local directory lacks. A hub id (owner/name) passes."""
    directory = Path(source)
    is_hub_id = source.count("/") == 1 and not source.startswith((".", "/", "~"))
    if not directory.is_dir():
        if is_hub_id:
            return
        raise UserError(
            f"generator.pretrained: {directory}: no such directory; expected one with {', '.join(_FILES)}, "
            "or a hub id such as owner/name"
        )
    for name in _FILES:
        if not (directory / name).is_file():
            raise UserError(f"generator.pretrained: {directory / name}: no such file")


def load_unet(source: str) -> tuple[UNet2DConditionModel, DDPMScheduler]:
    """The UNet with fp32 weights, and the noise schedule it was trained on.

    Raises UserError if a part is missing or cannot be fetched.
    """
    check_source(source)
    unet = _load(UNet2DConditionModel, source, "unet", use_safetensors=True, torch_dtype=torch.float32)
    return unet, _load(DDPMScheduler, source, "scheduler")


def load_autoencoder(source: str) -> AutoencoderKL:
    """The autoencoder with fp32 weights. Raises UserError if it is missing or cannot be fetched."""
    check_source(source)
    return _load(AutoencoderKL, source, "vae", use_safetensors=True, torch_dtype=torch.float32)


def _load(kind, source: str, subfolder: str, **options):
    try:
        return kind.from_pretrained(source, subfolder=subfolder, **options)
    except (OSError, ValueError, RuntimeError) as error:  # also what clients raise without a network
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"generator.pretrained: {subfolder} of {source} cannot be loaded ({reason}); without a network, "
            "give a local directory (`make download RESOURCE=stable-diffusion-v1-5`)"
        ) from None
