"""Settings of the predictors."""

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from covary.config.base import Positive, Section

Objective = Literal["ebe_mse", "marginal_likelihood"]


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
