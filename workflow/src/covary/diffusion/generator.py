"""The conditional UNet with its noise schedule, and how z enters it."""

from pathlib import Path

import torch
from diffusers import DDPMScheduler, SchedulerMixin, UNet2DConditionModel
from jaxtyping import Float, Int64
from torch import Tensor

from covary.config import Generator
from covary.training import place
from covary.vae import VAE

_TRAINING_TIMESTEPS = 1000


class ImageGenerator:
    """A network v(x_t, t; z) over folded pixels, its noise schedule, and the VAE whose z it knows.

    The condition enters as one cross-attention token, as a shift of the time embedding, and, if the UNet has
    the input channels for it, as the VAE's decoding of z beside x_t (as in DiffuseVAE, arXiv:2201.00308). The
    paper repeats its token 77 times; attention over equal tokens returns the token, so one does the same.
    """

    def __init__(self, unet: UNet2DConditionModel, scheduler: SchedulerMixin, vae: VAE):
        self.unet, self.scheduler, self.vae = unet, scheduler, vae
        self.patch_px = round(unet.config.out_channels**0.5)
        self.sees_decoding = unet.config.in_channels > unet.config.out_channels

    @classmethod
    def initialise(cls, config: Generator, vae: VAE) -> "ImageGenerator":
        """A generator with new weights from torch's current random state."""
        channels = config.patch_px**2
        blocks = config.block_channels
        unet = UNet2DConditionModel(
            sample_size=vae.arguments["size_px"] // config.patch_px,
            in_channels=channels * (2 if config.conditioning == "decoded" else 1),
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
        """The VAE's folded image of z, for the UNet's input; None if it takes none."""
        return fold(2 * self.vae.decode(z) - 1, self.patch_px) if self.sees_decoding else None

    def save(self, directory: Path) -> None:
        """Write unet/ and scheduler/ in the format of diffusers, and vae/."""
        directory = Path(directory)
        self.unet.save_pretrained(directory / "unet")
        self.scheduler.save_pretrained(directory / "scheduler")
        self.vae.save(directory / "vae")

    @classmethod
    def load(cls, directory: Path) -> "ImageGenerator":
        """Read what `save` wrote. Raises ValueError naming a missing part."""
        directory = Path(directory)
        for name in (
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
            "scheduler/scheduler_config.json",
        ):
            if not (directory / name).is_file():
                raise ValueError(f"{directory / name}: no such file; expected a generator")
        unet = UNet2DConditionModel.from_pretrained(directory / "unet", use_safetensors=True)
        scheduler = DDPMScheduler.from_pretrained(directory / "scheduler")
        return cls(place(unet).eval(), scheduler, VAE.load(directory / "vae"))


def fold(x: Float[Tensor, "batch 1 h w"], patch_px: int) -> Float[Tensor, "batch c h2 w2"]:
    """Space to depth: each patch of patch_px × patch_px pixels becomes the channels of one place."""
    return torch.nn.functional.pixel_unshuffle(x, patch_px)


def unfold(x: Float[Tensor, "batch c h w"], patch_px: int) -> Float[Tensor, "batch 1 h2 w2"]:
    """Depth to space, the inverse of `fold`."""
    return torch.nn.functional.pixel_shuffle(x, patch_px)
