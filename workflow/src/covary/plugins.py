"""Classes out of a user's own Python file, named as `my_model.py:MyModel`."""

import importlib.util
from pathlib import Path

from covary.errors import UserError


def file_of(name: str) -> str | None:
    """The file of `my_model.py:MyModel`; None for the name of something that ships with Covary."""
    return name.rpartition(":")[0] or None


def load_class(name: str, bases: tuple[type, ...], key: str) -> type:
    """The class that `path/to/file.py:ClassName` names.

    `key` is the configuration key that a message blames. Raises UserError, in one line, if there is no such
    file or class, if the file cannot be imported, or if the class derives from none of `bases`.
    """
    file, _, class_name = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise UserError(f"{key}: there is no file {file}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{key}: {file} must be a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{key}: {file} cannot be imported: {one_line(error)}") from error
    cls = getattr(module, class_name, None)
    if not (isinstance(cls, type) and issubclass(cls, bases)):
        wanted = " or ".join(".".join([*base.__module__.split(".")[:2], base.__name__]) for base in bases)
        raise UserError(f"{key}: {file} must define a class {class_name} that derives from {wanted}")
    return cls


def one_line(error: Exception) -> str:
    """An exception as one line of text."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
