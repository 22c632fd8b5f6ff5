"""One clear line for each fault in a configuration."""

import difflib
from typing import Any, get_args

from pydantic import BaseModel

from covary.config.base import Section
from covary.config.experiment import Config

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


def explain(fault: dict[str, Any], raw: dict[str, Any]) -> str:
    """One line for one fault that pydantic found: the key, what was expected, and what was given."""
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
    if kind == "no_effect":
        return f"{key}: {fault['msg']}"
    message = str(context.get("error", fault["msg"]))
    return f"{key}.{message}" if key else message


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    model: type[BaseModel] = Config
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = section_of(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def section_of(annotation: Any) -> type[Section] | None:
    """The section that a key of this type holds, or each item of its list; None for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(section_of, get_args(annotation))), None)
