"""Settings of the image generator and of sampling from it."""

from typing import Annotated, Literal

from pydantic import Field

from covary.config.base import Positive, Section


class Generator(Section):
    """The diffusion model that draws an image for a z."""

    pretrained: str | None = Field(
        None,
        description="Directory or hub id of a Stable Diffusion whose UNet is fine-tuned in the space of its "
        "frozen autoencoder; null trains a UNet of the keys patch_px, block_channels and layers_per_block",
    )
    patch_px: Positive = Field(4, description="Pixels folded into channels along each side (space to depth)")
    block_channels: list[Annotated[int, Field(ge=16, multiple_of=16)]] = Field(
        [32, 64, 128], min_length=1, description="UNet channels at each resolution, multiples of 16"
    )
    layers_per_block: Positive = Field(1, description="Residual blocks at each resolution")
    conditioning_source: Literal["posterior_sample", "posterior_mean"] = Field(
        "posterior_sample",
        description="z seen in training: a draw from q(z|x), distributed as at sampling, or its mean",
    )
    conditioning: Literal["residual", "token", "paper"] = Field(
        "residual",
        description="How z enters: as 77 equal cross-attention tokens padded to 768 (`paper`), as one "
        "(`token`, the same function), or as one and the VAE's decoding of z, to which the diffusion model "
        "adds what it lacks",
    )
    condition_dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Share of training images shown without their z, so that guidance is possible"
    )
    min_snr_gamma: Annotated[float, Field(gt=0)] | None = Field(
        None, description="γ of min-SNR loss weighting; null weights all noise levels alike"
    )
    noise_offset: float = Field(
        0.0, ge=0, description="Standard deviation of noise that is equal over a channel (paper: 0.1)"
    )
    steps: Positive = Field(750, description="Training steps")
    batch_size: Positive = Field(24, description="Images a training step, over all GPUs")
    learning_rate: float = Field(0.001, gt=0, description="AdamW step size after warm-up")
    learning_rate_schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="Warm-up, then half a cosine down to 0; or constant from the start (paper)"
    )
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay")
    max_gradient_norm: float = Field(1.0, gt=0, description="Longer gradients are shortened to this")
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(0.995, description="Decay of the weight average")
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = Field(
        "auto", description="Precision of training; auto: bf16 on a GPU, none on a CPU"
    )
    gradient_checkpointing: bool = Field(False, description="Less memory for more time")
    compile: bool = Field(False, description="torch.compile, for GPUs")
    checkpoint_steps: Positive = Field(
        100, description="Steps between checkpoints, and between logged losses"
    )
    checkpoints_kept: Positive = Field(1, description="Checkpoints on disk at a time")

    def without_effect(self) -> dict[str, str]:
        """A pretrained UNet has its own shape."""
        shape = dict.fromkeys(("patch_px", "block_channels", "layers_per_block"), "with pretrained")
        return shape if self.pretrained is not None else {}


class Sampling(Section):
    """How the trained generator draws images."""

    solver: Literal["dpmsolver++", "unipc", "ddim", "ddpm"] = Field(
        "unipc",
        description="Solver of the probability-flow ODE, which is deterministic, or the paper's `ddpm`, "
        "which adds noise",
    )
    steps: Positive = Field(6, description="Network evaluations per image")
    batch_size: Positive = Field(256, description="Images drawn at once")
    guidance_scale: float = Field(
        1.0, ge=0, description="Above 1, z is followed more than in training, at twice the cost; 1 is without"
    )
    mixed_precision: bool = Field(True, description="bf16 on a GPU")
    compile: bool = Field(False, description="torch.compile, for GPUs")
    mock_images: bool = Field(
        False, description="For tests of scale only: patterns computed from z in place of generated images"
    )

    def without_effect(self) -> dict[str, str]:
        """Patterns that stand in for images are not sampled."""
        others = (key for key in type(self).model_fields if key != "mock_images")
        return dict.fromkeys(others, "with mock_images") if self.mock_images else {}
