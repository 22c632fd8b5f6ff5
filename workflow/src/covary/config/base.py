"""What every section of the configuration is made of."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from covary.errors import UserError

Positive = Annotated[int, Field(ge=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class ConfigError(UserError):
    """The configuration cannot be used; the message names the key and what was expected, one line a fault."""


class Section(BaseModel):
    """A closed object: unknown keys and wrong types are faults, nothing is coerced.

    A key that has no effect beside the other settings is a fault where it is given, and is left out where
    the section is written as plain data; so a section that is written can be read again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def without_effect(self) -> dict[str, str]:
        """Keys of this section that have no effect, each with the setting that makes it so."""
        return {}

    @model_validator(mode="after")
    def _refuse_keys_without_effect(self):
        idle = {key: why for key, why in self.without_effect().items() if key in self.model_fields_set}
        if idle:
            faults = [
                InitErrorDetails(
                    type=PydanticCustomError("no_effect", "has no effect {why}; remove it", {"why": why}),
                    loc=(key,),
                    input=getattr(self, key),
                )
                for key, why in idle.items()
            ]
            raise ValidationError.from_exception_data(type(self).__name__, faults)
        return self

    @model_serializer(mode="wrap")
    def _leave_out_keys_without_effect(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        idle = self.without_effect()
        return {key: value for key, value in handler(self).items() if key not in idle}
