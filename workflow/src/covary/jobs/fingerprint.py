"""Content hash of the code behind a rule: editing a module reruns the rules that use it and no others.

Snakemake sees edits of a rule's script but not of the package the script imports.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# Its values reach every rule as params, so a new key or a reworded description must not rerun anything.
_LEFT_OUT = frozenset({"covary", "covary.config"})


def fingerprint(script: Path) -> str:
    """Hash of a rule script and of every `covary` module it imports, directly or not.

    Comments, docstrings and layout do not count. Raises FileNotFoundError if the script does not exist.
    """
    seen: dict[str, str] = {}
    pending = list(_imports(script))
    while pending:
        module = pending.pop()
        if module in seen or module in _LEFT_OUT:
            continue
        source = _source(module)
        seen[module] = _code(source)
        pending += _imports(source)
    joined = "\n".join([_code(script), *(f"{name} {seen[name]}" for name in sorted(seen))])
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


def _source(module: str) -> Path:
    path = _PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _imports(source: Path) -> frozenset[str]:
    found = set()
    for node in ast.walk(_tree(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, source)
            # `from covary import store` names a module, `from covary.store import shards` may name either.
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return frozenset(m for m in found if m.split(".")[0] == "covary" and _source(m).exists())


def _absolute(node: ast.ImportFrom, source: Path) -> str:
    if node.level == 0:
        return node.module or ""
    package = source.parents[node.level - 1].relative_to(_PACKAGE.parent)
    return ".".join([*package.parts, *([node.module] if node.module else [])])


@cache
def _code(source: Path) -> str:
    tree = _tree(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
            and isinstance(body[0].value.value, str)
        ):
            node.body = body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()


def _tree(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"), filename=str(source))
