"""Settings of the image VAE and of the ranking of its latents."""

from typing import Annotated, Any, Literal

from pydantic import Field

from covary.config.base import Positive, Section

# The network that comes with the workflow (`make pretrain`), and how long it learns from new images.
SHIPPED_VAE = {
    "start": "workflow/pretrained/oct_64px_vae.safetensors",
    "epochs": 3,
    "beta_warmup_epochs": 0.0,
}
_SHAPE = ("family", "architecture", "latent_dim", "base_channels", "crop_rows")

Family = Literal["beta_vae", "vae_gan", "sparse_vae", "sparse_vae_gan"]


class Sparsity(Section):
    """The spike-and-slab prior of `sparse_vae` and `sparse_vae_gan`: most latents of an image are 0."""

    alpha: float = Field(0.1, gt=0, lt=1, description="α, expected share of the latents that are not 0")
    gate: Literal["reference", "paper"] = Field(
        "reference",
        description="How a gate is drawn: `reference`, steep and with uniform noise, nearly 0 or 1; `paper`, "
        "soft and with normal noise, which is never near 0",
    )
    steepness: float = Field(50.0, gt=0, description="Steepness of the reference gate at first")
    steepness_growth: float = Field(0.001, ge=0, description="Growth of the steepness per epoch")

    def without_effect(self) -> dict[str, str]:
        """The paper's gate has no steepness."""
        keys = ("steepness", "steepness_growth") if self.gate == "paper" else ()
        return dict.fromkeys(keys, "with gate paper")


class Adversary(Section):
    """The discriminator of `vae_gan` and `sparse_vae_gan`, whose features reconstructions must match."""

    levels: Literal["all", "all_but_last"] = Field(
        "all", description="Levels of features that are matched: all, or all but the last (text of the paper)"
    )
    weight: float = Field(
        1.0, ge=0, description="Weight of squared differences of features, that of pixels being 1"
    )
    base_channels: Positive = Field(
        32, description="Channels of its convolutions, twice as many in the last (CytoVAEGAN: 32)"
    )
    progressive_steps: Positive | None = Field(
        None,
        description="Steps over which the weight of each level rises in turn; null: all weigh 1 at once",
    )
    learning_rate: float = Field(0.001, gt=0, description="Adam step size of the discriminator")


class Vae(Section):
    """The convolutional VAE whose latent space carries the association."""

    family: Family = Field(
        "beta_vae",
        description="Gaussian prior, or `sparse`, a spike-and-slab one; `gan`: with an adversary. CytoVAE, "
        "CytoVAEGAN, SparseVAE and SparseVAEGAN are these four with architecture `cyto`",
    )
    architecture: Literal["compact", "resnet18", "cyto"] = Field(
        "compact",
        description="`resnet18` is that of paper 000's Table 3 (there: 128 latents, 64 channels, 224 pixels),"
        " `cyto` that of CytoVAE (there: 256 latents, 32 channels, 68 pixels)",
    )
    latent_dim: Positive = Field(16, description="Width of z")
    base_channels: Positive = Field(
        16, description="Channels of the first convolution; doubles as size halves"
    )
    start: str | None = Field(
        None,
        description="File of a VAE of this shape that was trained before, as a start; null starts from "
        "random weights. Left out, where scans are drawn at 64 pixels and no key describes another network: "
        "workflow/pretrained/oct_64px_vae.safetensors, with 3 epochs and beta_warmup_epochs 0",
    )
    epochs: Positive = Field(18, description="Passes over the training images")
    batch_size: Positive = Field(32, description="Images per step")
    learning_rate: float = Field(0.001, gt=0, description="Adam step size at first")
    learning_rate_schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="Fall to 0 along half a cosine, or stay (paper)"
    )
    weight_decay: float = Field(0.0, ge=0, description="Weight of ½‖weights‖² in Adam (CytoVAE: 0.001)")
    gradient_clip: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Largest norm of a gradient, longer ones are shortened; null: no limit"
    )
    horizontal_flip: bool = Field(True, description="Mirror half of the training images, anew each epoch")
    quarter_turns: bool = Field(
        False,
        description="Turn training images by 0 to 3 right angles, anew each epoch: for images without an up",
    )
    crop_rows: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Rows cut away before the VAE sees an image, which is stretched back: at a random height "
        "in training, else half above and half below (paper: 34 of 224)",
    )
    mse_weight: float = Field(400 / 3, gt=0, description="α, weight of the mean squared error per pixel")
    perceptual: Literal["none", "file", "torchvision", "random"] = Field(
        "none",
        description="Weights of the VGG16 behind the perceptual terms: no such terms, a local file, "
        "torchvision's own download, or random ones (for tests)",
    )
    perceptual_file: str = Field(
        "resources/weights/vgg16-397923af.pth",
        description="VGG16 or its first 16 feature layers, .safetensors or .pth, when perceptual is `file`",
    )
    relu1_2_weight: float = Field(25 / 12, ge=0, description="γ, weight of the features of relu1_2")
    relu3_3_weight: float = Field(1 / 3, ge=0, description="τ, weight of the features of relu3_3")
    beta: float = Field(
        0.0376, ge=0, description="β at the end of the warm-up, weight of KL(q(z|x) ‖ N(0, I))"
    )
    beta_warmup_epochs: float = Field(5.0, ge=0, description="Epochs over which β rises linearly from 0")
    free_bits: float = Field(
        0.0,
        ge=0,
        description="Nats of KL that each latent may use without a penalty, against posterior collapse",
    )
    sleep_weight: float = Field(
        1.0,
        ge=0,
        description="Weight, beside the KL, of the wake-sleep term: the encoder learns to read z back from "
        "decodings of z ~ N(0, I); 0 leaves it out",
    )
    sparsity: Sparsity = Field(default_factory=Sparsity, description="Spike-and-slab prior")
    adversary: Adversary = Field(default_factory=Adversary, description="Discriminator")
    compile: bool = Field(False, description="torch.compile, for GPUs")

    def without_effect(self) -> dict[str, str]:
        """Keys of other families, of absent perceptual terms, and of those with weights from elsewhere."""
        why = f"with perceptual {self.perceptual}"
        keys = {"file": (), "none": ("perceptual_file", "relu1_2_weight", "relu3_3_weight")}
        idle = dict.fromkeys(keys.get(self.perceptual, ("perceptual_file",)), why)
        absent = [] if self.is_sparse else ["sparsity"]
        absent += [] if self.has_adversary else ["adversary"]
        return idle | dict.fromkeys(absent, f"with family {self.family}")

    def shape(self, size_px: int) -> dict[str, Any]:
        """What a VAE of images of `size_px` has in common with the network that it starts from."""
        return {"size_px": size_px, **self.model_dump(include=set(_SHAPE))}

    @property
    def is_sparse(self) -> bool:
        """Whether the prior is spike-and-slab."""
        return self.family.startswith("sparse")

    @property
    def open_share(self) -> float:
        """Share of the latents that are not 0 under the prior."""
        return self.sparsity.alpha if self.is_sparse else 1.0

    @property
    def has_adversary(self) -> bool:
        """Whether a discriminator is trained beside the VAE."""
        return self.family.endswith("gan")

    @property
    def size_multiple_px(self) -> int:
        """Image sides, less `size_border_px`, must be multiples of this."""
        return {"compact": 16, "resnet18": 32, "cyto": 8}[self.architecture]

    @property
    def size_border_px(self) -> int:
        """What the convolutions of the architecture take off an image."""
        return 28 if self.architecture == "cyto" else 0


class Ranking(Section):
    """Which latents matter: the paper's two methods, on active latents."""

    method: Literal["readback", "sensitivity"] = Field(
        "readback", description="Ranking that picks the random effects (paper: methods 1 and 2)"
    )
    readback_draws: Positive = Field(10_000, description="z drawn for method 1")
    sensitivity_draws: Positive = Field(
        500, description="z drawn for method 2, each with every latent redrawn"
    )
    active_variance: float = Field(
        0.01, ge=0, description="A latent is active if Var over images of its posterior mean exceeds this"
    )


def with_shipped_vae(given: dict[str, Any]) -> dict[str, Any]:
    """Settings of a VAE of drawn scans, with the shipped start where they describe no other network."""
    return given if given.keys() & {"start", *_SHAPE} else {**SHIPPED_VAE, **given}
