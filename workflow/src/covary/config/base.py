"""What every section of the configuration is made of."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

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
    """The configuration cannot be used; the message has one line per fault: the key and what was expected."""


class Section(BaseModel):
    """A closed object: unknown keys and wrong types are faults, nothing is coerced.

    A key that has no effect beside the other settings is a fault where it is given, and is left out where
    the section is written as plain data; so a section that is written can be read again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    replaced: ClassVar[dict[str, str]] = {}  # keys of earlier versions, each with what to write now

    def without_effect(self) -> dict[str, str]:
        """Keys of this section that have no effect, each with the setting that makes it so."""
        return {}

    @model_validator(mode="before")
    @classmethod
    def _refuse_replaced_keys(cls, value: Any) -> Any:
        given = value if isinstance(value, dict) else {}
        _refuse({key: f"was replaced; write `{new}`" for key, new in cls.replaced.items() if key in given})
        return value

    @model_validator(mode="after")
    def _refuse_keys_without_effect(self):
        idle = self.without_effect()
        given = self.model_fields_set
        _refuse({key: f"has no effect {why}; remove it" for key, why in idle.items() if key in given})
        return self

    @model_serializer(mode="wrap")
    def _leave_out_keys_without_effect(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        idle = self.without_effect()
        return {key: value for key, value in handler(self).items() if key not in idle}


def _refuse(messages: dict[str, str]) -> None:
    """Raise a fault for each key, if there is one; the message says what is wrong with it."""
    if messages:
        faults = [
            InitErrorDetails(
                type=PydanticCustomError("refused", "{message}", {"message": message}), loc=(key,), input=None
            )
            for key, message in messages.items()
        ]
        raise ValidationError.from_exception_data("section", faults)
