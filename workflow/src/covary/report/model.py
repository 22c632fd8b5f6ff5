"""The code of the structural model, as the report shows it."""

import ast
import inspect
from pathlib import Path

from covary import plugins
from covary.nlme.catalogue import SHIPPED


def model_source(name: str) -> str:
    """The class of a shipped model, or that of `path/to/file.py:ClassName`, as it stands in its file."""
    file, class_name = plugins.file_of(name), name.rpartition(":")[2]
    if file is None:
        return inspect.getsource(SHIPPED[name])
    text = Path(file).read_text(encoding="utf-8")
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    (definition,) = (node for node in classes if node.name == class_name)
    return ast.get_source_segment(text, definition) or ""
