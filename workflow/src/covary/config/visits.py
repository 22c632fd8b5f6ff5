"""Settings of missing visits: why visits of the schedule do not take place."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from covary.config.base import Finite, Positive, Section

Share = Annotated[float, Field(ge=0, lt=1)]
_FRACTION = (
    "Share of visits that are missing: the probability of each (completely_at_random), the expected share "
    "of all visits after subjects have left (dropout), or the probability where the quantity is 0 "
    "(not_at_random)"
)


class CompletelyAtRandom(Section):
    """Visits are missing completely at random."""

    mechanism: Literal["completely_at_random"] = Field(description="Why visits are missing")
    fraction: Share | None = Field(None, description=_FRACTION)
    at_most: Positive | None = Field(
        None,
        description="In place of `fraction`: the most missing visits of a subject; their number is uniform",
    )

    @model_validator(mode="after")
    def _one_of_two(self):
        if (self.fraction is None) == (self.at_most is None):
            raise ValueError("fraction or at_most must be given, and not both")
        return self


class Dropout(Section):
    """Subjects leave the study at a constant hazard after the first visit, and do not come back."""

    mechanism: Literal["dropout"] = Field(description="Why visits are missing")
    fraction: Share = Field(description=_FRACTION)


class NotAtRandom(Section):
    """The probability that a visit is missing depends on what would be observed, or on a random effect."""

    mechanism: Literal["not_at_random"] = Field(description="Why visits are missing")
    quantity: Annotated[str, Field(min_length=1)] = Field(
        description="`outcome`, or the name of a random effect of the model, in standard units"
    )
    fraction: Share = Field(description=_FRACTION)
    slope: Finite = Field(description="Rise of the log-odds of a missing visit per unit of the quantity")

    @property
    def intercept(self) -> float:
        """The log-odds of a missing visit where the quantity is 0."""
        return math.log(self.fraction / (1 - self.fraction)) if self.fraction else -math.inf


Missing = Annotated[CompletelyAtRandom | Dropout | NotAtRandom, Field(discriminator="mechanism")]
