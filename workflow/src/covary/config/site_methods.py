"""Settings of methods for subjects that come from sites."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from covary.config.base import Positive, Section
from covary.config.predictors import Objective, Predictor

Corrector = Literal["none", "adversary", "combat", "combat_target", "combat_leak_free"]
Effects = Literal["none", "input", "variational", "lmmnn", "monte_carlo_em"]

COMBAT = ("combat", "combat_target", "combat_leak_free")
RANDOM_EFFECTS = ("variational", "lmmnn", "monte_carlo_em")
NORMAL_ERRORS = ("lmmnn", "monte_carlo_em")  # their likelihood is that of normal errors

# The named combinations of a corrector and site effects.
METHODS: dict[str, tuple[Corrector, Effects]] = {
    "plain": ("none", "none"),
    "site_input": ("none", "input"),
    "domain_adversarial": ("adversary", "none"),
    "armed": ("adversary", "variational"),
    "armed_without_adversary": ("none", "variational"),
    "lmmnn": ("none", "lmmnn"),
    "monte_carlo_em": ("none", "monte_carlo_em"),
    "combat": ("combat", "none"),
    "combat_target": ("combat_target", "none"),
    "combat_leak_free": ("combat_leak_free", "none"),
}


class SiteMethod(Section):
    """How a predictor treats sites: a corrector and site effects, which are two independent choices.

    A text is the name of a combination: `armed` is `{corrector: adversary, effects: variational}`.
    """

    corrector: Corrector = Field(
        "none",
        description="What takes the site out of the fixed-effects network: nothing, an adversary, or ComBat "
        "on the features: without the target, with it (a control that uses the outcome of test subjects), "
        "or with that of training subjects alone (combat_leak_free)",
    )
    effects: Effects = Field(
        "none",
        description="What adapts predictions to the site: nothing, the site as a further input, random "
        "intercepts and slopes with a variational posterior, random intercepts of LMMNN, or random "
        "intercepts and slopes by Monte Carlo EM",
    )
    fixed_weight: float = Field(
        1.0, ge=0, description="Weight λ_F of the loss of the fixed-effects prediction"
    )
    adversary_weight: float = Field(
        1.0, ge=0, description="Weight λ_g of the adversary's cross-entropy in the loss of the network"
    )
    adversary_widths: list[int] = Field(
        [32, 32], min_length=1, description="Units of the adversary's hidden layers"
    )

    def without_effect(self) -> dict[str, str]:
        """An adversary has settings of its own; so have random effects."""
        idle = {}
        if self.effects != "variational":
            idle["fixed_weight"] = f"with effects {self.effects}"
        if self.corrector != "adversary":
            for key in ("adversary_weight", "adversary_widths"):
                idle[key] = f"with corrector {self.corrector}"
        return idle

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value not in METHODS:
            raise PydanticCustomError(
                "method",
                "must be one of {names}, got {got}",
                {"names": f"{', '.join(METHODS)}, or {{corrector, effects}}", "got": repr(value)},
            )
        return dict(zip(("corrector", "effects"), METHODS[value], strict=True))

    @property
    def uses_sites(self) -> bool:
        """Whether a prediction depends on the site of the subject."""
        return self.effects != "none"


def _default_objective(settings: dict[str, Any]) -> Objective:
    return "ebe_mse" if settings["effects"] in NORMAL_ERRORS else "marginal_likelihood"


def _default_name(settings: dict[str, Any]) -> str:
    both = settings["corrector"], settings["effects"]
    name = next((name for name, combination in METHODS.items() if combination == both), "_".join(both))
    is_usual = settings["objective"] == _default_objective(settings)
    return name if is_usual else f"{name}_{settings['objective']}"


class TrainedMethod(SiteMethod):
    """A method that a run trains in every scenario. A text is the name of a combination."""

    objective: Objective = Field(
        default_factory=_default_objective,
        description="What is minimised, as for other predictors; left out, ebe_mse with lmmnn and "
        "monte_carlo_em, else marginal_likelihood",
    )
    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")] = Field(
        default_factory=_default_name,
        description="Name in paths and tables; left out, that of the combination, with the objective if it "
        "is not the usual one",
    )

    def without_effect(self) -> dict[str, str]:
        """λ_g is chosen among those of `sites.training`."""
        return super().without_effect() | {"adversary_weight": "in sites.methods"}

    @model_validator(mode="after")
    def _objective_suits(self):
        if self.effects in NORMAL_ERRORS and self.objective != "ebe_mse":
            raise ValueError(f"objective must be ebe_mse with effects {self.effects}, whose likelihood is "
                             f"that of normal errors, got {self.objective!r}")  # fmt: skip
        return self

    def weighted(self, adversary_weight: float) -> SiteMethod:
        """The method with this λ_g, which has no effect without an adversary."""
        method = SiteMethod.model_validate(self.model_dump(exclude={"objective", "name"}))
        return method.model_copy(update={"adversary_weight": adversary_weight})


_USUAL = {
    "learning_rate_schedule": "constant",
    "max_gradient_norm": 10.0,
    "weight_decay": 0.0,
    "ema_decay": 0.99,
    "learning_curve": [],
}


class SiteTraining(Section):
    """The network of all methods, its training, and what is chosen on sites that are left out."""

    network: Annotated[str, Field(min_length=1)] = Field(
        "perceptron", description="The network, named as that of other predictors"
    )
    width: Positive = Field(32, description="Width of the network, as that of other predictors")
    epochs: Positive = Field(40, description="At most this many epochs; each ends with a validation")
    patience_epochs: Positive = Field(10, description="Stop when validation has not improved for so long")
    batch_size: Positive = Field(64, description="Subjects per step")
    learning_rate: float = Field(0.005, gt=0, description="AdamW step size")
    folds: Annotated[int, Field(ge=2)] = Field(
        4,
        description="Groups of sites that are left out in turn to choose settings; at most `sites.seen`, "
        "which leaves out one site at a time",
    )
    adversary_weights: list[Annotated[float, Field(gt=0)]] = Field(
        [1.0, 10.0], min_length=1, description="Candidates for λ_g, for methods with an adversary"
    )
    weight_decays: list[Annotated[float, Field(ge=0)]] = Field(
        [0.0, 0.3], min_length=1, description="Candidates for the weight decay, for methods without"
    )

    def predictor(self, objective: Objective) -> Predictor:
        """The settings of a training."""
        given = self.model_dump(exclude={"folds", "adversary_weights", "weight_decays"})
        return Predictor.model_validate(given | _USUAL | {"objective": objective})

    def without_effect(self) -> dict[str, str]:
        """`width` is that of resnet18 and perceptron."""
        return {} if self.network in ("resnet18", "perceptron") else {"width": f"with network {self.network}"}


def default_methods() -> list[TrainedMethod]:
    """A network that ignores sites, its rivals, and ARMED with and without its adversary."""
    names = ("plain", "site_input", "domain_adversarial", "armed", "armed_without_adversary")
    return [TrainedMethod.model_validate(name) for name in names]
