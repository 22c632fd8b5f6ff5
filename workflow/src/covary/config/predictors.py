"""Settings of the predictors."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from covary.config.base import Positive, Section

Objective = Literal["ebe_mse", "marginal_likelihood"]

# The network that comes with the workflow (`make pretrain`), and how it learns (table: benchmarks/README.md).
SHIPPED_READER = {
    "start": "workflow/pretrained/oct_64px_reader.safetensors",
    "epochs": 3,
    "batch_size": 32,
    "learning_rate": 0.0028,
}
# What a predictor must be to start from it.
_OF_READER = {"network": "resnet18", "width": 16}


def label_of(network: str) -> str:
    """A network's name as it stands in paths: in lower case, without the file of a user's own."""
    return re.sub(r"[^a-z0-9]+", "_", network.rpartition(":")[2].lower()).strip("_")


def _default_name(settings: dict[str, Any]) -> str:
    return f"{label_of(settings['network'])}_{settings['objective']}"


def _default_learning_curve(settings: dict[str, Any]) -> list[float]:
    return [0.0625, 0.125, 0.25] if settings["objective"] == "marginal_likelihood" else []


class Predictor(Section):
    """A network that predicts random effects from an image, and how it is trained."""

    network: Annotated[str, Field(min_length=1)] = Field(
        "resnet18",
        description="`resnet18`, a classifier of torchvision by its name, `my_model.py:MyNet`, or on what "
        "the image VAE encodes `linear_probe` or `perceptron` (three hidden layers)",
    )
    objective: Objective = Field(
        "marginal_likelihood",
        description="What is minimised: squared error of empirical Bayes estimates (paper), or minus the log "
        "likelihood of the records given the image",
    )
    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")] = Field(
        default_factory=_default_name,
        description="Name in paths and tables; left out, it is <network>_<objective>",
    )
    width: Positive = Field(
        16,
        description="Channels of the first stage of resnet18 (64 is that of the literature), or units of "
        "each hidden layer of the perceptron",
    )
    start: str | None = Field(
        None,
        description="File with the layers of a resnet18 of this width that was trained before, as a start; "
        "null starts from random weights. Left out, where scans are drawn at 64 pixels and the network is "
        "resnet18 of width 16: workflow/pretrained/oct_64px_reader.safetensors, with 3 epochs, batch_size 32 "
        "and learning_rate 0.0028",
    )
    covariance: Literal["full", "diagonal"] = Field(
        "full", description="Structure of V, the covariance of eta_hat that the image cannot explain"
    )
    epochs: Positive = Field(6, description="At most this many epochs; each ends with a validation")
    passes: Positive = Field(1, description="Passes over the training subjects in an epoch")
    patience_epochs: Positive = Field(3, description="Stop when validation has not improved for so long")
    batch_size: Positive = Field(64, description="Images per step")
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
        default_factory=_default_learning_curve,
        description="Shares of the training subjects to train smaller predictors on: at least 3, or none; "
        "left out, these for marginal_likelihood and none for ebe_mse",
    )
    learning_curve_trainings: Positive = Field(
        1,
        description="Trainings of each smaller predictor, with other random numbers each; from 3 on, "
        "intervals hold the chance that is in a training",
    )

    def without_effect(self) -> dict[str, str]:
        """`width` is that of resnet18 and perceptron, and only resnet18 has layers to start from."""
        keys = {"resnet18": (), "perceptron": ("start",)}.get(self.network, ("width", "start"))
        of_curve = {} if self.learning_curve else {"learning_curve_trainings": "without a learning_curve"}
        return dict.fromkeys(keys, f"with network {self.network}") | of_curve

    def shape(self, size_px: int) -> dict[str, int]:
        """What a predictor of images of `size_px` has in common with the network that it starts from."""
        return {"size_px": size_px, "width": self.width}

    @model_validator(mode="after")
    def _shares_suffice(self):
        if self.learning_curve and len(set(self.learning_curve)) < max(3, len(self.learning_curve)):
            raise ValueError(
                f"learning_curve must be at least 3 different shares, or none, got {self.learning_curve}"
            )
        return self

    @property
    def label(self) -> str:
        """The network's name as it stands in paths."""
        return label_of(self.network)


def default_predictors() -> list[Predictor]:
    """The demo's, without a start: one network, trained for each objective."""
    return [Predictor(objective="ebe_mse"), Predictor(objective="marginal_likelihood")]


def with_shipped_start(given: dict[str, Any]) -> dict[str, Any]:
    """Settings of a predictor of drawn scans, with the shipped start where they do not say otherwise."""
    is_of_reader = {key: given.get(key, value) for key, value in _OF_READER.items()} == _OF_READER
    return {**SHIPPED_READER, **given} if is_of_reader and "start" not in given else given
