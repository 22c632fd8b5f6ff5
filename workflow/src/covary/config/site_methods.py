"""Settings of methods for subjects that come from sites."""

from typing import Any, Literal

from pydantic import Field, model_validator

from covary.config.base import Section

Corrector = Literal["none", "adversary"]
Effects = Literal["none", "input", "variational", "lmmnn"]

# The named combinations of a corrector and site effects.
METHODS: dict[str, tuple[Corrector, Effects]] = {
    "plain": ("none", "none"),
    "site_input": ("none", "input"),
    "domain_adversarial": ("adversary", "none"),
    "armed": ("adversary", "variational"),
    "armed_without_adversary": ("none", "variational"),
    "lmmnn": ("none", "lmmnn"),
}


class SiteMethod(Section):
    """How a predictor treats sites: a corrector and site effects, which are two independent choices.

    A text is the name of a combination: `armed` is `{corrector: adversary, effects: variational}`.
    """

    corrector: Corrector = Field(
        "none", description="What takes the site out of the fixed-effects network: nothing, or an adversary"
    )
    effects: Effects = Field(
        "none",
        description="What adapts predictions to the site: nothing, the site as a further input, random "
        "intercepts and slopes with a variational posterior, or random intercepts of LMMNN",
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
            raise ValueError(f"must be one of {', '.join(METHODS)}, or {{corrector, effects}}, got {value!r}")
        return dict(zip(("corrector", "effects"), METHODS[value], strict=True))

    @property
    def uses_sites(self) -> bool:
        """Whether a prediction depends on the site of the subject."""
        return self.effects != "none"
