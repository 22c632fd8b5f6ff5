"""The files that follow from the configuration model: the JSON schema and the table of keys."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from covary.config.experiment import Config
from covary.config.faults import section_of


def json_schema() -> str:
    """The JSON schema of the configuration, as committed in workflow/schemas."""
    return json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def key_table() -> str:
    """Every key with its type, default and meaning as a Markdown table, as committed in config/README.md."""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    rows += [f"| `{key}` | {kind} | `{default}` | {text} |" for key, kind, default, text in _leaves(Config)]
    return "\n".join(rows) + "\n"


def _leaves(model: type[BaseModel], prefix: str = ""):
    example = model.model_construct()
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        key, default = f"{prefix}{name}", getattr(example, name, None)
        meaning = (field.description or "").replace("|", "\\|")
        if section is not None and not isinstance(default, list):
            yield from _leaves(section, f"{key}.")
        elif section is not None:
            yield key, "list", f"{len(default)} items", meaning
            yield from _leaves(section, f"{key}[].")
        else:
            text = "null" if default is None else json.dumps(default, ensure_ascii=False)
            yield key, _kind_of(field.annotation), text, meaning


def _kind_of(annotation: Any) -> str:
    names = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null"}
    if annotation in names:
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
