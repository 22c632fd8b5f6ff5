"""The files that follow from the configuration model: the JSON schema and the table of keys."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from covary.config.base import Section
from covary.config.experiment import Config
from covary.config.faults import sections_of

_LONG = 6  # lists of more numbers are shown by their ends


def json_schema() -> str:
    """The JSON schema of the configuration, as committed in workflow/schemas."""
    return json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def key_table() -> str:
    """Every key with its type, default and meaning as a Markdown table, as committed in config/README.md."""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    rows += [f"| `{key}` | {kind} | `{default}` | {text} |" for key, kind, default, text in _leaves(Config)]
    return "\n".join(rows) + "\n"


Row = tuple[str, str, str, str]  # key, type, default, meaning


def _leaves(model: type[Section], prefix: str = "") -> Iterator[Row]:
    example = model.model_construct()
    for name, field in model.model_fields.items():
        sections, key = sections_of(field.annotation), f"{prefix}{name}"
        default = getattr(example, name, None)
        meaning = (field.description or "").replace("|", "\\|")
        if isinstance(default, Section):
            yield from _leaves(type(default), f"{key}.")
        elif not sections:
            text = "must be given" if field.is_required() else _as_text(default)
            yield key, _kind_of(field.annotation), text, meaning
        else:
            kind, inner = "mapping or null", "."
            if isinstance(default, list):
                kind, inner = "list", "[]."
            elif isinstance(default, dict):
                kind, inner = "mapping", ".<name>."
            yield key, kind, _as_text(default), meaning
            yield from _merged([list(_leaves(section, f"{key}{inner}")) for section in sections])


def _merged(sections: Sequence[Sequence[Row]]) -> Iterator[Row]:
    """The keys of sections of which one is chosen, each key once with all its types."""
    rows: dict[str, Row] = {}
    for key, kind, text, meaning in (row for section in sections for row in section):
        before = rows.get(key, (key, kind, text, meaning))[1]
        rows[key] = key, kind if kind in before else f"{before} or {kind}", text, meaning
    yield from rows.values()


def _as_text(default: Any) -> str:
    if isinstance(default, list) and len(default) > _LONG:
        return f"[{default[0]}, {default[1]}, …, {default[-1]}]"
    return "null" if default is None else json.dumps(default, ensure_ascii=False, default=_as_given)


def _as_given(section: Section) -> dict[str, Any]:
    return section.model_dump(exclude_unset=True)


def _kind_of(annotation: Any) -> str:
    names = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null"}
    if isinstance(annotation, type) and annotation in names:
        return names[annotation]
    if getattr(annotation, "__origin__", None) is Literal:
        return " or ".join(f"`{a}`" for a in annotation.__args__)
    if getattr(annotation, "__origin__", None) is list:
        return f"list of {_kind_of(annotation.__args__[0])}"
    if hasattr(annotation, "__metadata__"):
        return _kind_of(annotation.__origin__)
    return " or ".join(_kind_of(a) for a in annotation.__args__)


_TABLE_MARK = "<!-- below this line: written by `make generated` -->\n"


def generated_files(root: Path) -> dict[Path, str]:
    """The committed files that follow from this model, with the text each should have."""
    readme = root / "config" / "README.md"
    text_by_hand = readme.read_text(encoding="utf-8").partition(_TABLE_MARK)[0]
    return {
        root / "workflow" / "schemas" / "config.schema.json": json_schema(),
        readme: f"{text_by_hand}{_TABLE_MARK}\n{key_table()}",
    }


if __name__ == "__main__":
    for generated_path, generated_text in generated_files(Path.cwd()).items():
        generated_path.write_text(generated_text, encoding="utf-8")
