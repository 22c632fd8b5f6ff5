"""Settings of the ladder: models of different kind that are fitted to the same records and compared."""

from itertools import pairwise
from typing import Annotated

from pydantic import Field, model_validator

from covary.config.base import Finite, Positive, Section
from covary.config.records import Dose

TRUTH = "true_parameters"  # the rung that is not fitted: the model that made the records


class Rung(Section):
    """A model of the ladder."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = Field(description="Its name, in paths too")
    model: Annotated[str, Field(min_length=1)] = Field(
        description="A shipped structural model, or `my_model.py:MyModel`"
    )
    random_effects: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Random effects among the inputs of its network, `n_effects` of the model; null: its own",
    )
    initial_fixed_effects: list[Finite] | None = Field(
        None, description="Start of the fixed effects on their natural scale; null: the model's own start"
    )


class Ladder(Section):
    """Models of different kind that are fitted to the records of the first noise level and compared."""

    models: list[Rung] = Field(
        default_factory=list, description="The models; [] leaves the comparison out of the run"
    )
    reference: str | None = Field(
        None, description="The model to which the evidence of others is compared; null: the first one"
    )
    estimators: list[str] = Field(
        default_factory=list,
        description="Models, as fitted to the most training subjects, under which random effects of all "
        "subjects are estimated and predicted from images too; others are compared to the first one",
    )
    training_subjects: Annotated[list[Positive], Field(min_length=1)] = Field(
        [10, 30, 100], description="Numbers of training subjects"
    )
    test_subjects: Annotated[int, Field(ge=2)] = Field(
        100, description="Test subjects whose evidence and forecasts are compared (all, if there are fewer)"
    )
    first_visits: list[Annotated[int, Field(ge=0)]] = Field(
        [0, 1, 3, 5],
        description="Numbers of first visits from which the whole record is predicted, beside all of them",
    )
    new_regimen: Annotated[list[Dose], Field(min_length=1)] = Field(
        default_factory=lambda: [
            Dose(time_h=0.0, amount=0.3, additional=2, interval_h=1.5),
            Dose(time_h=6.0, amount=1.5),
        ],
        description="Doses that no subject had, under which records are predicted from all visits",
    )
    steps: Positive = Field(600, description="Steps of Adam in the fit of a model with a network")
    draws: Positive = Field(2, description="Draws per subject in each step")
    final_steps: Positive = Field(400, description="At most so many steps of L-BFGS after them")

    @property
    def compared_to(self) -> str:
        """The name of the model to which the evidence of others is compared."""
        return self.reference or self.models[0].name

    def without_effect(self) -> dict[str, str]:
        """Without models, nothing is compared."""
        return (
            {} if self.models else dict.fromkeys(set(type(self).model_fields) - {"models"}, "without models")
        )

    @model_validator(mode="after")
    def _names_differ(self):
        names = [rung.name for rung in self.models]
        for i, name in enumerate(names):
            if name in names[:i] or name == TRUTH:
                raise ValueError(f"models[{i}].name must differ from {TRUTH} and other names, got {name!r}")
        if self.reference is not None and self.reference not in names:
            raise ValueError(f"reference must be the name of one of the models, got {self.reference!r}")
        if unknown := [name for name in self.estimators if name not in names]:
            raise ValueError(f"estimators must be names of the models, got {unknown[0]!r}")
        for key in ("training_subjects", "first_visits"):
            numbers = getattr(self, key)
            if any(late <= early for early, late in pairwise(numbers)):
                raise ValueError(f"{key} must increase, got {numbers}")
        return self
