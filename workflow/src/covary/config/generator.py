"""Settings of the image generator and of sampling from it."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from covary.config.base import Positive, Section

# The network that comes with the workflow (`make pretrain`), and the steps in which it learns a new z.
SHIPPED_START = {
    "start": "workflow/pretrained/oct_64px.safetensors",
    "block_channels": [48, 64, 96],
    "steps": 200,
    "checkpoint_steps": 25,
    "learning_rate": 0.0002,
    "ema_decay": 0.98,
    "conditioning_source": "reading",
}
# With it, few steps draw best when most of them are where the noise is large (table: benchmarks/README.md).
SHIPPED_SAMPLING = {"steps": 8, "spacing": 0.55}
# Keys with which an experiment draws in another way, or describes another network.
OTHER_SAMPLING = {"solver", "mock_images"}
OTHER_NETWORK = {"pretrained", "start", "patch_px", "block_channels", "layers_per_block", "conditioning"}


class Generator(Section):
    """The diffusion model that draws an image for a z."""

    pretrained: str | None = Field(
        None,
        description="Directory or hub id of a Stable Diffusion whose UNet is fine-tuned in the space of its "
        "frozen autoencoder; null trains a UNet of the keys patch_px, block_channels and layers_per_block",
    )
    start: str | None = Field(
        None,
        description="File of a network of this shape that was trained before, as a start; null starts from "
        "random weights. If no other key describes the network and scans are drawn at 64 pixels: "
        "workflow/pretrained/oct_64px.safetensors, with block_channels [48, 64, 96], 200 steps, "
        "checkpoint_steps 25, learning_rate 0.0002, ema_decay 0.98 and conditioning_source `reading`",
    )
    patch_px: Positive = Field(4, description="Pixels folded into channels along each side (space to depth)")
    block_channels: list[Annotated[int, Field(ge=16, multiple_of=16)]] = Field(
        [32, 64, 128], min_length=1, description="UNet channels at each resolution, multiples of 16"
    )
    layers_per_block: Positive = Field(1, description="Residual blocks at each resolution")
    conditioning_source: Literal["posterior_sample", "posterior_mean", "reading"] = Field(
        "posterior_sample",
        description="z seen in training: a draw from q(z|x), distributed nearly as in subjects; its mean; or "
        "`reading`, a draw in which latents that the encoder reads well are their mean in units of its "
        "standard deviation over images, so that an image can show them exactly",
    )
    reading_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the squared error with which the encoder reads z ~ N(0, I) back from what is "
        "drawn for it, beside the loss on images; 0 leaves it out",
    )
    conditioning: Literal["residual", "decoding", "token", "paper"] = Field(
        "residual",
        description="How z enters: as 77 equal cross-attention tokens padded to 768 (`paper`), as one "
        "(`token`, the same function), as the VAE's decoding of z, to which the diffusion model adds what it "
        "lacks (`decoding`), or as both (`residual`)",
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
        """A pretrained UNet has its own shape and weights."""
        keys = ("start", "patch_px", "block_channels", "layers_per_block")
        return dict.fromkeys(keys, "with pretrained") if self.pretrained is not None else {}

    def shape(self, size_px: int) -> dict[str, Any]:
        """What a generator of images of `size_px` has in common with the network that it starts from."""
        keys = {"patch_px", "block_channels", "layers_per_block"}
        return {"size_px": size_px, **self.model_dump(include=keys)}

    @model_validator(mode="after")
    def _decodings_are_refined(self):
        if self.conditioning not in ("residual", "decoding"):
            for key, off in (("start", None), ("reading_weight", 0)):
                if getattr(self, key) != off:
                    raise ValueError(f"{key} must be {'null' if off is None else off} unless conditioning is "
                                     f"`residual` or `decoding`, got {self.conditioning!r}")  # fmt: skip
        return self


class Sampling(Section):
    """How the trained generator draws images."""

    solver: Literal["dpmsolver++", "unipc", "ddim", "ddpm"] = Field(
        "unipc",
        description="Solver of the probability-flow ODE, which is deterministic, or the paper's `ddpm`, "
        "which adds noise",
    )
    steps: Positive = Field(
        6,
        description="Network evaluations per image. With the shipped start 8, unless another solver is given",
    )
    spacing: Annotated[float, Field(gt=0)] = Field(
        1.0,
        description="Exponent of the timesteps T (1 - i / steps) ** spacing, for `unipc` and `dpmsolver++`; "
        "1 is uniform, below 1 puts more of them where the noise is large and images take shape. With the "
        "shipped start 0.55, unless another solver is given",
    )
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
        """Patterns that stand in for images are not sampled; other solvers have steps of their own."""
        if self.mock_images:
            others = (key for key in type(self).model_fields if key != "mock_images")
            return dict.fromkeys(others, "with mock_images")
        return {"spacing": f"with solver {self.solver}"} if self.solver in ("ddim", "ddpm") else {}
