"""The conditional UNet with its noise schedule, and how z enters it."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, SchedulerMixin, UNet2DConditionModel
from jaxtyping import Float, Int64
from torch import Tensor

from covary.config.generator import Generator
from covary.diffusion.pretrained import load_autoencoder, load_unet
from covary.diffusion.spaces import LatentSpace, PixelSpace, Space
from covary.diffusion.start import read_start, start_from
from covary.errors import UserError
from covary.training.device import place
from covary.vae import VAE

_TRAINING_TIMESTEPS = 1000
_CONDITIONING_FILE = "conditioning.json"
_PAPER_TOKENS, _PAPER_WIDTH = 77, 768


class ImageGenerator:
    """A network over x_t in some space, its noise schedule, and the VAE whose z it knows.

    z enters through cross-attention, padded with zeros to the width of the network's tokens. The paper
    repeats its token 77 times; attention over equal tokens returns the token, so one does the same. A network
    made here also has z as a shift of the time embedding. If it has the input channels for it, it also sees
    the VAE's decoding of z, and what is diffused is what the decoding lacks: the image is decoding +
    residual_scale · x_0 (a VAE refined by diffusion: DiffuseVAE, arXiv:2201.00308).
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        scheduler: SchedulerMixin,
        vae: VAE,
        space: Space,
        tokens: int = 1,
        residual_scale: float = 1.0,
        sees_z: bool = True,
    ):
        self.unet, self.scheduler, self.vae, self.space = unet, scheduler, vae, space
        self.tokens, self.residual_scale, self.sees_z = tokens, residual_scale, sees_z
        # Read once: a UNet wrapped for several devices has no `config`.
        self.token_width = unet.config.cross_attention_dim
        self.embeds_z = unet.config.class_embed_type is not None
        self.refines_decoding = unet.config.in_channels > unet.config.out_channels
        if self.token_width < vae.latent_dim:
            raise UserError(
                f"the tokens of the generator are {self.token_width} wide, too narrow for "
                f"{vae.latent_dim} latents (vae.latent_dim)"
            )
        if unet.config.out_channels != space.channels:
            raise UserError(
                f"the UNet of the generator draws {unet.config.out_channels} channels, its space has "
                f"{space.channels}"
            )

    @classmethod
    def initialise(cls, config: Generator, vae: VAE, size_px: int) -> "ImageGenerator":
        """A generator for images of `size_px` with the channels that the VAE sees.

        Its weights are new, from torch's current random state, or those of `config.start` or
        `config.pretrained`.
        """
        tokens = _PAPER_TOKENS if config.conditioning == "paper" else 1
        if config.pretrained is not None:
            unet, scheduler = load_unet(config.pretrained)
            space = LatentSpace(place(load_autoencoder(config.pretrained)), size_px, vae.channels)
            return cls(place(unet), scheduler, vae, space, tokens)
        space = PixelSpace(size_px, config.patch_px, vae.channels)
        blocks = config.block_channels
        unet = UNet2DConditionModel(
            sample_size=space.grid_px,
            in_channels=space.channels * (2 if config.conditioning in ("residual", "decoding") else 1),
            out_channels=space.channels,
            block_out_channels=tuple(blocks),
            layers_per_block=config.layers_per_block,
            # Attention in the middle block only, at the coarsest grid, where it is cheap.
            down_block_types=("DownBlock2D",) * len(blocks),
            up_block_types=("UpBlock2D",) * len(blocks),
            cross_attention_dim=_PAPER_WIDTH if config.conditioning == "paper" else vae.latent_dim,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=vae.latent_dim,
            attention_head_dim=4,
            norm_num_groups=16,
        )
        # This schedule ends with (almost) no signal left, as x_T at sampling has none.
        scheduler = DDPMScheduler(
            num_train_timesteps=_TRAINING_TIMESTEPS,
            beta_schedule="squaredcos_cap_v2",
            # Of what is diffused, not of noise, which would have to pass through a network too narrow for it.
            prediction_type="sample",
            timestep_spacing="trailing",
            clip_sample=False,
        )
        residual_scale = 1.0
        if config.start is not None:
            start = read_start(config, size_px, vae.channels)
            start_from(unet, start)
            residual_scale = start.residual_scale
        sees_z = config.conditioning != "decoding"
        return cls(place(unet), scheduler, vae, space, tokens, residual_scale, sees_z)

    def predict(
        self,
        x_t: Float[Tensor, "batch c h w"],
        t: Int64[Tensor, " batch"],
        z: Float[Tensor, "batch latent"],
        decoding: Float[Tensor, "batch c h w"] | None,
    ) -> Float[Tensor, "batch c h w"]:
        """What the network predicts: x_0, ε, or v = √ᾱ_t ε - √(1-ᾱ_t) x_0, as its schedule says."""
        seen = x_t if decoding is None else torch.cat([x_t, decoding], dim=1)
        z = z if self.sees_z else torch.zeros_like(z)
        padded = torch.nn.functional.pad(z, (0, self.token_width - z.shape[1]))
        tokens = padded.unsqueeze(1).expand(-1, self.tokens, -1)
        return self.unet(
            seen, t, encoder_hidden_states=tokens, class_labels=z if self.embeds_z else None
        ).sample

    def target(
        self,
        x_0: Float[Tensor, "batch c h w"],
        noise: Float[Tensor, "batch c h w"],
        t: Int64[Tensor, " batch"],
    ) -> Float[Tensor, "batch c h w"]:
        """What `predict` should return."""
        match self.scheduler.config.prediction_type:
            case "sample":
                return x_0
            case "epsilon":
                return noise
            case _:
                return self.scheduler.get_velocity(x_0, noise, t)

    @torch.no_grad()
    def decoding(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch c h w"] | None:
        """The VAE's image of z as it would be diffused; None if the generator draws whole images."""
        return self.space.fold(2 * self.vae.decode(z) - 1) if self.refines_decoding else None

    def diffusable(
        self, x: Float[Tensor, "batch c h w"], decoding: Float[Tensor, "batch c h w"] | None
    ) -> Float[Tensor, "batch c h w"]:
        """x_0 of images in the generator's space: they themselves, or their scaled residual."""
        return x if decoding is None else (x - decoding) / self.residual_scale

    def images(
        self,
        x_0: Float[Tensor, "batch c grid_h grid_w"],
        decoding: Float[Tensor, "batch c grid_h grid_w"] | None,
    ) -> Float[Tensor, "batch image_c h w"]:
        """Images with values 0 … 1 of what was drawn."""
        return self.space.to_images(x_0 if decoding is None else decoding + self.residual_scale * x_0)

    def save(self, directory: Path) -> None:
        """Write unet/, scheduler/ and, if there is one, autoencoder/ in the format of diffusers, vae/ and
        conditioning.json."""
        directory = Path(directory)
        self.unet.save_pretrained(directory / "unet")
        self.scheduler.save_pretrained(directory / "scheduler")
        self.vae.save(directory / "vae")
        latent = isinstance(self.space, LatentSpace)
        if latent:
            self.space.autoencoder.save_pretrained(directory / "autoencoder")
        conditioning = {
            "tokens": self.tokens,
            "residual_scale": self.residual_scale,
            "sees_z": self.sees_z,
            "size_px": self.space.size_px,
            "patch_px": None if latent else self.space.patch_px,
        }
        (directory / _CONDITIONING_FILE).write_text(json.dumps(conditioning, indent=2) + "\n")

    @classmethod
    def load(cls, directory: Path) -> "ImageGenerator":
        """Read what `save` wrote. Raises UserError naming a missing part."""
        directory = Path(directory)
        _check(directory, _CONDITIONING_FILE, "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
               "scheduler/scheduler_config.json")  # fmt: skip
        conditioning = json.loads((directory / _CONDITIONING_FILE).read_text())
        size_px, patch_px = conditioning.pop("size_px"), conditioning.pop("patch_px")
        vae = VAE.load(directory / "vae")
        if patch_px is None:
            _check(directory, "autoencoder/config.json", "autoencoder/diffusion_pytorch_model.safetensors")
            autoencoder = AutoencoderKL.from_pretrained(directory / "autoencoder", use_safetensors=True)
            space = LatentSpace(place(autoencoder), size_px, vae.channels)
        else:
            space = PixelSpace(size_px, patch_px, vae.channels)
        unet = UNet2DConditionModel.from_pretrained(directory / "unet", use_safetensors=True)
        scheduler = DDPMScheduler.from_pretrained(directory / "scheduler")
        return cls(place(unet).eval(), scheduler, vae, space, **conditioning)


def _check(directory: Path, *names: str) -> None:
    for name in names:
        if not (directory / name).is_file():
            raise UserError(f"{directory / name}: no such file; expected a generator")
