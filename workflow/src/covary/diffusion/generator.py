"""The conditional UNet with its noise schedule, and how z enters it."""

import json
from pathlib import Path

import torch
from diffusers import DDPMScheduler, SchedulerMixin, UNet2DConditionModel
from jaxtyping import Float, Int64
from torch import Tensor

from covary.config import Generator
from covary.training import place
from covary.vae import VAE

_TRAINING_TIMESTEPS = 1000
_RESIDUAL_FILE = "residual.json"


class ImageGenerator:
    """A network v(x_t, t; z) over folded pixels, its noise schedule, and the VAE whose z it knows.

    z enters as one cross-attention token and as a shift of the time embedding. The paper repeats its token 77
    times; attention over equal tokens returns the token, so one does the same. If the UNet has the input
    channels for it, it also sees the VAE's decoding of z, and what is diffused is what the decoding lacks:
    the image is decoding + residual_scale · x_0 (a VAE refined by diffusion: DiffuseVAE, arXiv:2201.00308).
    """

    def __init__(
        self, unet: UNet2DConditionModel, scheduler: SchedulerMixin, vae: VAE, residual_scale: float = 1.0
    ):
        self.unet, self.scheduler, self.vae, self.residual_scale = unet, scheduler, vae, residual_scale
        self.patch_px = round(unet.config.out_channels**0.5)
        self.refines_decoding = unet.config.in_channels > unet.config.out_channels

    @classmethod
    def initialise(cls, config: Generator, vae: VAE) -> "ImageGenerator":
        """A generator with new weights from torch's current random state."""
        channels = config.patch_px**2
        blocks = config.block_channels
        unet = UNet2DConditionModel(
            sample_size=vae.arguments["size_px"] // config.patch_px,
            in_channels=channels * (2 if config.conditioning == "residual" else 1),
            out_channels=channels,
            block_out_channels=tuple(blocks),
            layers_per_block=config.layers_per_block,
            # Attention in the middle block only, at the coarsest grid, where it is cheap.
            down_block_types=("DownBlock2D",) * len(blocks),
            up_block_types=("UpBlock2D",) * len(blocks),
            cross_attention_dim=vae.latent_dim,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=vae.latent_dim,
            attention_head_dim=4,
            norm_num_groups=16,
        )
        # This schedule ends with (almost) no signal left, as x_T at sampling has none.
        scheduler = DDPMScheduler(
            num_train_timesteps=_TRAINING_TIMESTEPS,
            beta_schedule="squaredcos_cap_v2",
            prediction_type="v_prediction",
            timestep_spacing="trailing",
            clip_sample=False,
        )
        return cls(place(unet), scheduler, vae)

    def velocity(
        self,
        x_t: Float[Tensor, "batch c h w"],
        t: Int64[Tensor, " batch"],
        z: Float[Tensor, "batch latent"],
        decoding: Float[Tensor, "batch c h w"] | None,
    ) -> Float[Tensor, "batch c h w"]:
        """v = √ᾱ_t ε - √(1-ᾱ_t) x_0 as the network predicts it."""
        seen = x_t if decoding is None else torch.cat([x_t, decoding], dim=1)
        return self.unet(seen, t, encoder_hidden_states=z.unsqueeze(1), class_labels=z).sample

    @torch.no_grad()
    def decoding(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch c h w"] | None:
        """The VAE's folded image of z with values -1 … 1; None if the generator draws whole images."""
        return fold(2 * self.vae.decode(z) - 1, self.patch_px) if self.refines_decoding else None

    def diffusable(
        self, images: Float[Tensor, "batch 1 h w"], decoding: Float[Tensor, "batch c grid_h grid_w"] | None
    ) -> Float[Tensor, "batch c grid_h grid_w"]:
        """x_0 of images with values 0 … 1: they themselves, or their scaled residual, folded."""
        x = fold(2 * images - 1, self.patch_px)
        return x if decoding is None else (x - decoding) / self.residual_scale

    def image(
        self,
        x_0: Float[Tensor, "batch c grid_h grid_w"],
        decoding: Float[Tensor, "batch c grid_h grid_w"] | None,
    ) -> Float[Tensor, "batch 1 h w"]:
        """The inverse of `diffusable`."""
        x = x_0 if decoding is None else decoding + self.residual_scale * x_0
        return 0.5 * (unfold(x, self.patch_px) + 1)

    def save(self, directory: Path) -> None:
        """Write unet/ and scheduler/ in the format of diffusers, vae/ and residual.json."""
        directory = Path(directory)
        self.unet.save_pretrained(directory / "unet")
        self.scheduler.save_pretrained(directory / "scheduler")
        self.vae.save(directory / "vae")
        (directory / _RESIDUAL_FILE).write_text(json.dumps({"residual_scale": self.residual_scale}) + "\n")

    @classmethod
    def load(cls, directory: Path) -> "ImageGenerator":
        """Read what `save` wrote. Raises ValueError naming a missing part."""
        directory = Path(directory)
        for name in (
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
            "scheduler/scheduler_config.json",
            _RESIDUAL_FILE,
        ):
            if not (directory / name).is_file():
                raise ValueError(f"{directory / name}: no such file; expected a generator")
        unet = UNet2DConditionModel.from_pretrained(directory / "unet", use_safetensors=True)
        scheduler = DDPMScheduler.from_pretrained(directory / "scheduler")
        residual = json.loads((directory / _RESIDUAL_FILE).read_text())
        return cls(place(unet).eval(), scheduler, VAE.load(directory / "vae"), **residual)


def fold(x: Float[Tensor, "batch 1 h w"], patch_px: int) -> Float[Tensor, "batch c h2 w2"]:
    """Space to depth: each patch of patch_px × patch_px pixels becomes the channels of one place."""
    return torch.nn.functional.pixel_unshuffle(x, patch_px)


def unfold(x: Float[Tensor, "batch c h w"], patch_px: int) -> Float[Tensor, "batch 1 h2 w2"]:
    """Depth to space, the inverse of `fold`."""
    return torch.nn.functional.pixel_shuffle(x, patch_px)
