"""One clear line for each fault in a configuration."""

import difflib
from typing import Any, Literal, get_args, get_origin

from pydantic_core import ErrorDetails

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
    "finite_number": "a finite number",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}


def explain(fault: ErrorDetails) -> str:
    """One line for one fault that pydantic found: the key, what was expected, and what was given."""
    key, sections = _place(fault["loc"])
    kind, context, got = fault["type"], fault.get("ctx", {}), fault["input"]
    match kind:
        case "value_error":  # a validator of a section, whose message begins with the name of a key of it
            return f"{key}.{context['error']}" if key else str(context["error"])
        case "extra_forbidden":
            known = list(sections[0].model_fields)
            near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1, cutoff=0.6)
            hint = f"did you mean `{near[0]}`?" if near else f"known keys here: {', '.join(known)}"
            return f"{key}: unknown key; {hint}"
        case "missing":
            return f"{key}: must be given"
        case "union_tag_not_found" | "union_tag_invalid":
            tag = context["discriminator"].strip("'")
            given = f", got {context['tag']!r}" if "tag" in context else ""
            kinds = ", ".join(repr(kind) for section in sections for kind in kinds_of(section, tag))
            return f"{key}.{tag}: must be one of {kinds}{given}"
        case "literal_error":
            return f"{key}: must be one of {context['expected']}, got {got!r}"
        case "too_short":
            return f"{key}: must have at least {context['min_length']} item, got {context['actual_length']}"
        case "string_pattern_mismatch":
            return f"{key}: must match {context['pattern']}, got {got!r}"
    if kind in _BOUNDS:
        symbol, name = _BOUNDS[kind]
        return f"{key}: must be {symbol} {context[name]:g}, got {got}"
    if kind in _KINDS:
        return f"{key}: must be {_KINDS[kind]}, got {got!r}"
    return f"{key}: {fault['msg']}"


def _place(location: tuple[str | int, ...]) -> tuple[str, list[type[Section]]]:
    """The key as a user writes it, and the sections that may stand there or, at a plain value, around it."""
    key = ""
    sections: list[type[Section]] = [Config]
    for part in location:
        if isinstance(part, int):
            key += f"[{part}]"
            continue
        if len(sections) > 1:  # pydantic adds which section of several it took
            sections = [
                section
                for section in sections
                if any(part in kinds_of(section, name) for name in section.model_fields)
            ]
            continue
        key += f".{part}"
        field = sections[0].model_fields.get(part)
        sections = (field and sections_of(field.annotation)) or sections
    return key.lstrip("."), sections


def sections_of(annotation: Any) -> list[type[Section]]:
    """The sections that may stand at a key of this type, or be items of its list; none for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for part in get_args(annotation) for section in sections_of(part)]


def kinds_of(section: type[Section], key: str) -> tuple[str, ...]:
    """The values that a key can have, where they are listed."""
    annotation = section.model_fields[key].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()
