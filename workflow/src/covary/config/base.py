"""What every section of the configuration is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from covary.errors import UserError

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class ConfigError(UserError):
    """The configuration cannot be used; the message names the key and what was expected, one line a fault."""


class Section(BaseModel):
    """A closed object: unknown keys and wrong types are faults, nothing is coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
