"""The typed configuration: the one place that knows keys, types, ranges, defaults, units and descriptions.

The defaults are the demo. `config/config.yaml` and the other shipped files hold only what differs.
"""

import difflib
import hashlib
import json
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Objective = Literal["ebe_mse", "marginal_likelihood"]


class ConfigError(ValueError):
    """The configuration cannot be used; the message names the key and what was expected, one line a fault."""


class Section(BaseModel):
    """A closed object: unknown keys and wrong types are faults, nothing is coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Phantom(Section):
    """Procedural OCT B-scans, drawn when `images.source` is `phantom`."""

    train: Annotated[int, Field(ge=1, le=1_000_000)] = Field(1800, description="Training images to draw")
    test: Positive = Field(240, description="Test images to draw")
    height_px: int = Field(496, ge=64, description="Height of a B-scan over 1.92 mm, in pixels")
    width_px: int = Field(512, ge=64, description="Width of a B-scan over 5.9 mm, in pixels")
    corner_fraction: Fraction = Field(
        0.15, description="Share of scans with the white corners that registration leaves"
    )


class Crop(Section):
    """Centre crop, or black padding where an image is smaller, before the resize."""

    height_px: Positive = Field(496, description="Rows kept")
    width_px: Positive = Field(512, description="Columns kept")


class Images(Section):
    """Real or procedural images and how they are prepared."""

    source: Literal["phantom", "folder"] = Field("phantom", description="Draw phantoms, or read a folder")
    folder: str | None = Field(
        None,
        description="Folder of images when source is `folder`: {train,test}/CLASS/NAME.{jpeg,jpg,png,tif}, "
        "or CLASS/NAME, or NAME alone",
    )
    phantom: Phantom = Field(default_factory=Phantom, description="Procedural images")
    size_px: int = Field(64, ge=16, description="Side of the square images that VAE and predictors see")
    generator_size_px: Annotated[int, Field(ge=16)] | None = Field(
        None, description="Side of the images the generator learns and draws; null: size_px"
    )
    fill_white_corners: bool = Field(True, description="Fill white registration corners with background")
    denoise_sd: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="Standard deviation, white being 1, of the noise that BM3D takes out before the crop "
        "(paper: 0.13; needs the package bm3d); null leaves it out",
    )
    crop: Crop | None = Field(
        default_factory=Crop, description="Centre crop or pad; null keeps the whole image"
    )
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.15, description="Share of images held out when the folder has no train/ and test/"
    )
    patient_disjoint: bool = Field(
        True,
        description="Leave out training images of patients who are also in test/; in OCT2017 some are",
    )
    max_unreadable_fraction: Fraction = Field(
        0.01, description="The run stops when more than this share of files cannot be read"
    )

    @property
    def sizes_px(self) -> list[int]:
        """Sides at which images are prepared: for the VAE and, if it differs, for the generator."""
        return [self.size_px, *({self.drawn_size_px} - {self.size_px})]

    @property
    def drawn_size_px(self) -> int:
        """Side of the images that the generator learns and draws."""
        return self.generator_size_px or self.size_px


class Vae(Section):
    """The convolutional β-VAE whose latent space carries the association."""

    architecture: Literal["compact", "resnet18"] = Field(
        "compact",
        description="`resnet18` is that of the paper's Table 3 (there: 128 latents, 64 channels, 224 pixels)",
    )
    latent_dim: Positive = Field(16, description="Width of z")
    base_channels: Positive = Field(
        16, description="Channels of the first convolution; doubles as size halves"
    )
    epochs: Positive = Field(18, description="Passes over the training images")
    batch_size: Positive = Field(32, description="Images a step")
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


class Sampling(Section):
    """How the trained generator draws images."""

    solver: Literal["dpmsolver++", "unipc", "ddim", "ddpm"] = Field(
        "unipc",
        description="Solver of the probability-flow ODE, which is deterministic, or the paper's `ddpm`, "
        "which adds noise",
    )
    steps: Positive = Field(6, description="Network evaluations an image")
    batch_size: Positive = Field(256, description="Images drawn at once")
    guidance_scale: float = Field(
        1.0, ge=0, description="Above 1, z is followed more than in training, at twice the cost; 1 is without"
    )
    mixed_precision: bool = Field(True, description="bf16 on a GPU")
    compile: bool = Field(False, description="torch.compile, for GPUs")
    mock_images: bool = Field(
        False, description="For tests of scale only: patterns computed from z in place of generated images"
    )


class Quality(Section):
    """How the generated images are measured."""

    images: Positive = Field(2000, description="At most so many test subjects and real test images")
    training_images: Positive = Field(
        10_000, description="At most so many training images, among which the nearest are sought"
    )
    reconstructions: Positive = Field(200, description="At most so many test images are reconstructed")
    inception_file: str | None = Field(
        None,
        description="Weights of torchvision's Inception v3 for a second feature space beside the VAE's "
        "encoder; null leaves it out",
    )


class Subjects(Section):
    """How many synthetic subjects, by split."""

    train: Positive = Field(2400, description="Subjects to train predictors on")
    validation: Positive = Field(400, description="Subjects to stop training by")
    test: Positive = Field(2000, description="Subjects every reported number is computed on")

    @property
    def total(self) -> int:
        """Subjects over all splits."""
        return self.train + self.validation + self.test


class Store(Section):
    """Layout of the dataset on disk; changes no number in it."""

    shard_subjects: Positive = Field(2432, description="Images a shard, written by one job")
    chunk_subjects: Positive = Field(64, description="Images a chunk, the unit of reading")
    compression: Literal["zstd"] | None = Field(
        None,
        description="Of images: null maps them into memory undecoded, zstd saves a fifth of the disk",
    )

    @model_validator(mode="after")
    def _chunks_fill_shards(self):
        if self.shard_subjects % self.chunk_subjects:
            raise ValueError(f"shard_subjects must be a multiple of chunk_subjects ({self.chunk_subjects}), "
                             f"got {self.shard_subjects}")  # fmt: skip
        return self


class Association(Section):
    """How strongly image and record are tied."""

    noise_variances: list[Annotated[float, Field(ge=0)]] = Field(
        [0.0, 1.0, 9.0, 18.0, 49.0],
        min_length=1,
        description="σ² of the noise on eta; an image can explain 1/(1+σ²) of eta_hat",
    )

    @model_validator(mode="after")
    def _levels_differ(self):
        if len({f"{v:g}" for v in self.noise_variances}) < len(self.noise_variances):
            raise ValueError(f"noise_variances must differ from each other, got {self.noise_variances}")
        return self


class PopulationFit(Section):
    """Maximum-likelihood fit of the population model to the simulated records."""

    method: Literal["fo", "foce", "focei", "laplace"] = Field(
        "foce", description="Approximation of the marginal likelihood"
    )
    subjects: Positive = Field(1000, description="Training subjects used (all, if there are fewer)")
    initial_fixed_effects: list[float] | None = Field(
        [1.0, 1.1, 0.6],
        description="Start of the fixed effects on their natural scale; null: the model's own",
    )
    initial_omega: float = Field(0.2, gt=0, description="Start of every variance on the diagonal of Ω")
    initial_sigma: float = Field(0.1, gt=0, description="Start of the residual standard deviation")


class Longitudinal(Section):
    """The records: structural model, observation times, residual error, fit."""

    model: str = Field(
        "saturable_elimination", description="A shipped structural model, or `my_model.py:MyModel`"
    )
    first_time_h: float = Field(0.0, ge=0, description="First observation")
    last_time_h: float = Field(10.0, gt=0, description="Last observation")
    interval_h: float = Field(0.5, gt=0, description="Spacing of the observations")
    dose: float = Field(1.0, gt=0, description="Bolus at time 0")
    residual_sd: float = Field(
        0.01, gt=0, description="σ_ε, standard deviation of the additive residual error"
    )
    fit: PopulationFit = Field(default_factory=PopulationFit, description="Population fit")

    @model_validator(mode="after")
    def _times_increase(self):
        if self.last_time_h <= self.first_time_h:
            raise ValueError(
                f"last_time_h must be > first_time_h ({self.first_time_h:g}), got {self.last_time_h:g}"
            )
        return self

    @property
    def times_h(self) -> list[float]:
        """Observation times."""
        count = int((self.last_time_h - self.first_time_h) / self.interval_h + 1e-9) + 1
        return [self.first_time_h + i * self.interval_h for i in range(count)]


class Predictor(Section):
    """The network that predicts random effects from an image."""

    network: Annotated[str, Field(min_length=1)] = Field(
        "resnet18",
        description="`resnet18`, a classifier of torchvision by its name, `linear_probe` on what the image "
        "VAE encodes, or `my_model.py:MyNet`",
    )
    width: Positive = Field(
        16, description="Channels of the first stage; 64 is the ResNet-18 of the literature"
    )
    objectives: list[Objective] = Field(
        ["ebe_mse", "marginal_likelihood"],
        min_length=1,
        description="Training objectives, a predictor each: squared error of empirical Bayes estimates "
        "(paper), or the likelihood of the records given the image",
    )
    posterior_draws: Positive = Field(
        64, description="Draws from each subject's posterior of the random effects, for marginal_likelihood"
    )
    covariance: Literal["full", "diagonal"] = Field(
        "full", description="Structure of V, the covariance of eta_hat that the image cannot explain"
    )
    epochs: Positive = Field(6, description="At most this many epochs; each ends with a validation")
    passes: Positive = Field(1, description="Passes over the training subjects in an epoch")
    patience_epochs: Positive = Field(3, description="Stop when validation has not improved for so long")
    batch_size: Positive = Field(64, description="Images a step")
    buffer_mb: Positive = Field(
        1000,
        description="Images shuffled at once, all of them if they fit: held in memory if they are "
        "compressed, else read ahead",
    )
    learning_rate: float = Field(0.0014, gt=0, description="AdamW step size at first")
    learning_rate_schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="Fall to 0 along half a cosine, or stay (paper)"
    )
    max_gradient_norm: float = Field(1.0, gt=0, description="Longer gradients are shortened to this")
    weight_decay: float = Field(0.1, ge=0, description="AdamW weight decay; 0 is plain Adam, as in the paper")
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.996, description="Decay of the weight average that predicts; 0 uses the weights of the last step"
    )

    learning_curve: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        [0.0625, 0.125, 0.25],
        description="Shares of the training subjects to train smaller predictors on: at least 3, or none",
    )
    learning_curve_objectives: list[Objective] | None = Field(
        None, description="Objectives whose predictors get a learning curve; null: the last of `objectives`"
    )

    @model_validator(mode="after")
    def _objectives_and_shares_fit(self):
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"objectives must differ, got {self.objectives}")
        if self.learning_curve and len(set(self.learning_curve)) < max(3, len(self.learning_curve)):
            raise ValueError(
                f"learning_curve must be at least 3 different shares, or none, got {self.learning_curve}"
            )
        if missing := sorted({*(self.learning_curve_objectives or [])} - {*self.objectives}):
            raise ValueError(f"learning_curve_objectives must be among objectives, got {missing}")
        return self

    @property
    def label(self) -> str:
        """The network's name as it stands in paths."""
        return re.sub(r"[^a-z0-9]+", "_", self.network.rpartition(":")[2].lower()).strip("_")

    @property
    def names(self) -> list[str]:
        """One name for each predictor to train, used in paths."""
        return [f"{self.label}_{objective}" for objective in self.objectives]

    @property
    def learning_curve_names(self) -> list[str]:
        """Those of the predictors that get a learning curve."""
        wanted = self.learning_curve_objectives
        wanted = self.objectives[-1:] if wanted is None else wanted
        return [f"{self.label}_{objective}" for objective in wanted if self.learning_curve]

    def for_subjects(self, n: int, of: int | None = None) -> "Predictor":
        """The same for the first `n` training subjects of so many, with batches that they can fill.

        Fewer subjects are passed over more often in an epoch, by the square root of how much fewer they are:
        what they can teach is learned in fewer steps. More subjects take no more steps.
        """
        ratio = (of or n) / n
        fewer = min(1.0, ratio)
        return self.model_copy(
            update={
                "epochs": max(1, round(self.epochs * fewer)),
                "passes": round(self.passes * math.sqrt(max(1.0, ratio))),
                "patience_epochs": max(1, round(self.patience_epochs * fewer)),
                "batch_size": min(self.batch_size, n),
            }
        )


class Evaluation(Section):
    """How results are summarised."""

    bootstrap_resamples: int = Field(
        1000, ge=100, description="Resamples of subjects behind each 95 % interval"
    )
    predictive_draws: Annotated[int, Field(ge=2)] = Field(
        39,
        description="Outcomes drawn for each test subject from what a predictor says; 95 % intervals are "
        "exact at 39 and other numbers that are 1 below a multiple of 40",
    )
    privacy_images: Positive = Field(
        2000, description="Generated images (the last; all, if there are fewer) checked for copies"
    )


class Config(Section):
    """One experiment. Holds science only: machines are described by profiles."""

    experiment: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = Field(
        "demo", description="Name; everything is written to results/<experiment>"
    )
    seed: Annotated[int, Field(ge=0)] = Field(20241, description="Seed of every random stream")
    license: Annotated[str, Field(min_length=1)] = Field(
        "unknown", description="Licence that the card of the dataset states, for instance cc-by-4.0"
    )
    images: Images = Field(default_factory=Images)
    vae: Vae = Field(default_factory=Vae)
    ranking: Ranking = Field(default_factory=Ranking)
    generator: Generator = Field(default_factory=Generator)
    sampling: Sampling = Field(default_factory=Sampling)
    quality: Quality = Field(default_factory=Quality)
    subjects: Subjects = Field(default_factory=Subjects)
    store: Store = Field(default_factory=Store)
    association: Association = Field(default_factory=Association)
    longitudinal: Longitudinal = Field(default_factory=Longitudinal)
    predictor: Predictor = Field(default_factory=Predictor)
    evaluation: Evaluation = Field(default_factory=Evaluation)

    @model_validator(mode="after")
    def _parts_fit_together(self):
        if self.images.source == "folder" and self.images.folder is None:
            raise ValueError("images.folder must name a folder when images.source is `folder`, got null")
        if self.images.size_px % self.vae.size_multiple_px:
            raise ValueError(f"images.size_px must be a multiple of {self.vae.size_multiple_px} (halvings by "
                             f"the VAE), got {self.images.size_px}")  # fmt: skip
        if self.vae.crop_rows >= self.images.size_px:
            raise ValueError(f"vae.crop_rows must be < images.size_px ({self.images.size_px}), "
                             f"got {self.vae.crop_rows}")  # fmt: skip
        self._generator_fits()
        return self

    def _generator_fits(self) -> None:
        generator, drawn_px = self.generator, self.images.drawn_size_px
        if generator.conditioning == "residual":
            if generator.pretrained is not None:
                raise ValueError("generator.conditioning must be `token` or `paper` when "
                                 "generator.pretrained is given, got 'residual'")  # fmt: skip
            if self.vae.crop_rows or drawn_px != self.images.size_px:
                raise ValueError("generator.conditioning must be `token` or `paper` when the VAE sees "
                                 "other images than the generator (vae.crop_rows, "
                                 "images.generator_size_px), got 'residual'")  # fmt: skip
        if self.sampling.guidance_scale != 1 and generator.condition_dropout == 0:
            raise ValueError("sampling.guidance_scale must be 1 when generator.condition_dropout is 0, "
                             f"got {self.sampling.guidance_scale:g}")  # fmt: skip
        step = generator.patch_px * 2 ** (len(generator.block_channels) - 1)
        if generator.pretrained is None and drawn_px % step:
            key = "size_px" if self.images.generator_size_px is None else "generator_size_px"
            raise ValueError(f"images.{key} must be a multiple of {step} (generator.patch_px and its "
                             f"resolutions), got {drawn_px}")  # fmt: skip


def check(raw: dict[str, Any]) -> Config:
    """Turn the parsed YAML of an experiment into a checked Config.

    Raises ConfigError with one line for each fault: the key and what was expected.
    """
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(fault, raw) for fault in error.errors())) from None


def load(*paths: Path) -> Config:
    """Read YAML files, later ones over earlier ones key by key, and check the result.

    Raises ConfigError if a file is not a YAML mapping or the result is not valid.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        try:
            raw = yaml.safe_load(Path(path).read_text()) or {}
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
        if not isinstance(raw, dict):
            raise ConfigError(f"{path}: must be a mapping of keys to values, got {type(raw).__name__}")
        merged = _overlay(merged, raw)
    return check(merged)


def digest(config: Config) -> str:
    """SHA-256 of all settings that decide a number in the dataset."""
    settings = json.dumps(
        config.model_dump(exclude={"experiment", "license", "quality", "store", "evaluation"}), sort_keys=True
    )
    return hashlib.sha256(settings.encode()).hexdigest()


def json_schema() -> str:
    """The JSON schema of the configuration, as committed in workflow/schemas."""
    return json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def key_table() -> str:
    """Every key with its type, default and meaning as a Markdown table, as committed in config/README.md."""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    rows += [f"| `{key}` | {kind} | `{default}` | {text} |" for key, kind, default, text in _leaves(Config)]
    return "\n".join(rows) + "\n"


def _overlay(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both_mappings = {
        k for k in base.keys() & over.keys() if isinstance(base[k], dict) and isinstance(over[k], dict)
    }
    return base | {k: _overlay(base[k], v) if k in both_mappings else v for k, v in over.items()}


_BOUNDS = {
    "greater_than_equal": ("≥", "ge"),
    "greater_than": (">", "gt"),
    "less_than_equal": ("≤", "le"),
    "less_than": ("<", "lt"),
}
_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}


def _explain(fault: dict[str, Any], raw: dict[str, Any]) -> str:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]).lstrip(".")
    kind, context, got = fault["type"], fault.get("ctx", {}), fault["input"]
    if kind == "extra_forbidden":
        known = _known_keys(fault["loc"][:-1])
        near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1, cutoff=0.6)
        hint = f"did you mean `{near[0]}`?" if near else f"known keys here: {', '.join(known)}"
        return f"{key}: unknown key; {hint}"
    if kind in _BOUNDS:
        symbol, name = _BOUNDS[kind]
        return f"{key}: must be {symbol} {context[name]:g}, got {got}"
    if kind == "literal_error":
        return f"{key}: must be one of {context['expected']}, got {got!r}"
    if kind in _KINDS:
        return f"{key}: must be {_KINDS[kind]}, got {got!r}"
    if kind == "too_short":
        return f"{key}: must have at least {context['min_length']} item, got {context['actual_length']}"
    if kind == "string_pattern_mismatch":
        return f"{key}: must match {context['pattern']}, got {got!r}"
    message = str(context.get("error", fault["msg"]))
    return f"{key}.{message}" if key else message


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    model: type[BaseModel] = Config
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = _section_of(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _section_of(annotation: Any) -> type[Section] | None:
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, Section)), None)


def _leaves(model: type[BaseModel], prefix: str = ""):
    for name, field in model.model_fields.items():
        section = _section_of(field.annotation)
        if section is not None:
            yield from _leaves(section, f"{prefix}{name}.")
            continue
        default = field.get_default(call_default_factory=True)
        text = "null" if default is None else json.dumps(default, ensure_ascii=False)
        yield (
            f"{prefix}{name}",
            _kind_of(field.annotation),
            text,
            (field.description or "").replace("|", "\\|"),
        )


def _kind_of(annotation: Any) -> str:
    names = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null"}
    if annotation in names:
        return names[annotation]
    if getattr(annotation, "__origin__", None) is Literal:
        return " or ".join(f"`{a}`" for a in annotation.__args__)
    if getattr(annotation, "__origin__", None) is list:
        return f"list of {_kind_of(annotation.__args__[0])}"
    if hasattr(annotation, "__metadata__"):
        return _kind_of(annotation.__origin__)
    return " or ".join(_kind_of(a) for a in annotation.__args__)


_TABLE_MARK = "<!-- below this line: written by `make generated` -->\n"


def generated_files(root: Path) -> dict[Path, str]:
    """The committed files that follow from this model, with the text each should have."""
    readme = root / "config" / "README.md"
    text_by_hand = readme.read_text(encoding="utf-8").partition(_TABLE_MARK)[0]
    return {
        root / "workflow" / "schemas" / "config.schema.json": json_schema(),
        readme: f"{text_by_hand}{_TABLE_MARK}\n{key_table()}",
    }


if __name__ == "__main__":
    for generated_path, generated_text in generated_files(Path.cwd()).items():
        generated_path.write_text(generated_text, encoding="utf-8")
