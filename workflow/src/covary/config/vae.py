"""Settings of the image VAE and of the ranking of its latents."""

from typing import Annotated, Literal

from pydantic import Field

from covary.config.base import Positive, Section


class Vae(Section):
    """The convolutional β-VAE whose latent space carries the association."""

    family: Literal["beta_vae"] = Field("beta_vae", description="Prior, posterior and loss of the VAE")
    architecture: Literal["compact", "resnet18"] = Field(
        "compact",
        description="`resnet18` is that of the paper's Table 3 (there: 128 latents, 64 channels, 224 pixels)",
    )
    latent_dim: Positive = Field(16, description="Width of z")
    base_channels: Positive = Field(
        16, description="Channels of the first convolution; doubles as size halves"
    )
    epochs: Positive = Field(18, description="Passes over the training images")
    batch_size: Positive = Field(32, description="Images per step")
    learning_rate: float = Field(0.001, gt=0, description="Adam step size at first")
    learning_rate_schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="Fall to 0 along half a cosine, or stay (paper)"
    )
    horizontal_flip: bool = Field(True, description="Mirror half of the training images, anew each epoch")
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
    compile: bool = Field(False, description="torch.compile, for GPUs")

    def without_effect(self) -> dict[str, str]:
        """Keys of the perceptual terms, where there are none, or where their weights come from elsewhere."""
        why = f"with perceptual {self.perceptual}"
        keys = {"file": (), "none": ("perceptual_file", "relu1_2_weight", "relu3_3_weight")}
        return dict.fromkeys(keys.get(self.perceptual, ("perceptual_file",)), why)

    @property
    def size_multiple_px(self) -> int:
        """Image sides must be multiples of this."""
        return {"compact": 16, "resnet18": 32}[self.architecture]


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
