"""From YAML files to a checked configuration."""

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from covary.config.base import ConfigError
from covary.config.experiment import Config
from covary.config.faults import explain


def check(raw: dict[str, Any]) -> Config:
    """Turn the parsed YAML of an experiment into a checked Config.

    Raises ConfigError with one line for each fault: the key and what was expected.
    """
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        # A default that follows from a faulty key is not a fault of its own.
        faults = [fault for fault in error.errors() if fault["type"] != "default_factory_not_called"]
        raise ConfigError("\n".join(explain(fault) for fault in faults)) from None


def load(*paths: Path) -> Config:
    """Read YAML files, later ones over earlier ones key by key, and check the result.

    Raises ConfigError if a file is not a YAML mapping or the result is not valid.
    """
    return check(read(*paths))


def read(*paths: Path) -> dict[str, Any]:
    """The mappings of YAML files, later ones over earlier ones key by key.

    Raises ConfigError if a file cannot be read or is not a mapping.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        try:
            raw = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        except yaml.MarkedYAMLError as error:
            line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
            said = ", ".join(part for part in (error.context, error.problem) if part)
            raise ConfigError(f"{path}{line}: not YAML: {' '.join(said.split())}") from None
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
        if not isinstance(raw, dict):
            raise ConfigError(f"{path}: must be a mapping of keys to values, got {type(raw).__name__}")
        merged = overlay(merged, raw)
    return merged


def with_command_line(files: dict[str, Any], given: dict[str, Any]) -> Config:
    """The checked configuration of files and of the settings `given` on the command line, which win.

    A seed that is given on the command line, without a name for the experiment, gets results of its own,
    `demo-seed7`, so that it does not replace those of the file's seed. Raises ConfigError as `check` does.
    """
    config = check(overlay(files, given))
    if "seed" in given and "experiment" not in given:
        return config.model_copy(update={"experiment": f"{config.experiment}-seed{config.seed}"})
    return config


def files_of(experiment: str) -> list[Path]:
    """The files that describe an experiment, later ones over earlier ones. `demo` is `config/config.yaml`.

    Raises ConfigError if there is no `config/<experiment>.yaml`, or if it does not name the experiment: its
    results would replace those of the demo.
    """
    base = Path("config/config.yaml")
    if not base.is_file():
        raise ConfigError(f"there is no {base} in {Path.cwd()}; go to the folder of the workflow first")
    if experiment == "demo":
        return [base]
    own = Path("config") / f"{experiment}.yaml"
    if not own.is_file():
        known = ["demo", *sorted(file.stem for file in base.parent.glob("*.yaml") if file != base)]
        near = difflib.get_close_matches(Path(experiment).stem, known, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else f"experiments here: {', '.join(known)}"
        raise ConfigError(f"there is no {own}; {hint}")
    if "experiment" not in read(own):
        raise ConfigError(f"{own}: the key experiment must be given, such as `experiment: {experiment}`; "
                          "without it, results would replace those of the demo")  # fmt: skip
    return [base, own]


def typed(value: Any) -> Any:
    """A value of Snakemake's `--config`, with its numbers, truth values and null no longer as text.

    Snakemake reads `--config 'vae={epochs: 3}'` as YAML without types, so that each number in it arrives as
    text. Files are not read so: there, "3" in quotation marks is a text, and a fault at a number.
    """
    match value:
        case dict():
            return {key: typed(item) for key, item in value.items()}
        case list():
            return [typed(item) for item in value]
        case str():
            try:
                read = yaml.safe_load(value)
            except yaml.YAMLError:
                return value
            return read if isinstance(read, int | float | None) else value
    return value


def overlay(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """The keys of both; a value of `over` replaces that of `base`, and of two mappings only key by key."""
    both_mappings = {
        k for k in base.keys() & over.keys() if isinstance(base[k], dict) and isinstance(over[k], dict)
    }
    return base | {k: overlay(base[k], v) if k in both_mappings else v for k, v in over.items()}
