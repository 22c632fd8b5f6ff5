"""A source file as a set of definitions: what each says, and which names it uses."""

import ast
import hashlib
from functools import cached_property
from pathlib import Path

# A dotted name: `store.read` is ("store", "read"). A full name starts with a module.
Name = tuple[str, ...]

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS = (ast.Import, ast.ImportFrom)


class Statement:
    """A statement at the top level of a module."""

    def __init__(self, node: ast.stmt, package: str):
        self._node, self._package = node, package

    @cached_property
    def digest(self) -> str:
        """Hash of the code without comments, docstrings, layout and descriptions of settings."""
        return hashlib.sha256("\n".join(self._reader.code).encode()).hexdigest()

    @property
    def names(self) -> set[Name]:
        """The names that it uses and does not bind itself, as the module calls them."""
        return self._reader.scope.names

    @property
    def imported(self) -> set[Name]:
        """What it imports inside a function and uses there, by its full name."""
        return self._reader.scope.imported

    @property
    def bound(self) -> dict[str, Name | None]:
        """The names that it binds in the module; for an import, with the full name of what is imported."""
        return self._reader.scope.bound

    @cached_property
    def _reader(self) -> "_Reader":
        reader = _Reader(self._package)
        reader.visit(self._node)
        return reader


class Source:
    """A source file, sorted by what its statements do.

    `imports` gives the full name behind each imported name. `definitions` gives the statements that bind each
    other name. `statements` are those that do something when the module is imported. `script` keeps the block
    `if __name__ == "__main__"`. Raises FileNotFoundError if there is no such file.
    """

    def __init__(self, path: Path, module: str, *, script: bool = False):
        self.imports: dict[str, Name] = {}
        self.definitions: dict[str, list[Statement]] = {}
        self.statements: list[Statement] = []
        package = module if path.stem == "__init__" else module.rpartition(".")[0]
        for node in ast.parse(path.read_bytes(), filename=str(path)).body:
            if not _counts_for_nothing(node, script):
                self._sort(node, package)

    def everything(self) -> list[Statement]:
        """Every statement but imports, once."""
        groups = [*self.definitions.values(), self.statements]
        return list({id(statement): statement for group in groups for statement in group}.values())

    def _sort(self, node: ast.stmt, package: str) -> None:
        statement = Statement(node, package)
        if isinstance(node, _DEFINITIONS):
            self._define(node.name, statement)
            # `@f.register` makes the function a part of f.
            for decorator in node.decorator_list:
                root = dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)[:1]
                if root and root[0] in self.definitions and root[0] != node.name:
                    self._define(root[0], statement)
            return
        if not isinstance(node, _IMPORTS) and not _only_assigns(node):
            self.statements.append(statement)
        for name, target in statement.bound.items():
            if target is None:
                self._define(name, statement)
            elif name == "*":
                self.statements.append(statement)
            else:
                self.imports[name] = target

    def _define(self, name: str, statement: Statement) -> None:
        self.definitions.setdefault(name, []).append(statement)


def dotted(node: ast.AST) -> Name:
    """The dotted name that an expression is; () if it is another expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if isinstance(node, ast.Name) else ()


def _counts_for_nothing(node: ast.stmt, script: bool) -> bool:
    """Whether a statement cannot change what a definition of its module does."""
    if isinstance(node, ast.Assign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [dotted(target) for target in targets] == [("__all__",)]
    if not isinstance(node, ast.If) or node.orelse:
        return False
    test = dotted(node.test.left if isinstance(node.test, ast.Compare) else node.test)
    return test[-1:] == ("TYPE_CHECKING",) or (test == ("__name__",) and not script)


def _only_assigns(node: ast.stmt) -> bool:
    """Whether all that a statement does is to bind names."""
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    else:
        return False
    parts = [part for t in targets for part in (t.elts if isinstance(t, ast.Tuple | ast.List) else [t])]
    return all(isinstance(part, ast.Name) for part in parts)


class _Scope:
    """The names of a module, a class, a function or a comprehension."""

    def __init__(self) -> None:
        self.names: set[Name] = set()
        self.imported: set[Name] = set()
        self.bound: dict[str, Name | None] = {}
        self.not_local: set[str] = set()

    def hand_over(self, outer: "_Scope", *, hides: bool) -> None:
        """Give the names that are not bound here to the scope around it. A class hides nothing."""
        outer.imported |= self.imported
        for root, *rest in self.names:
            target = self.bound.get(root)
            if target is not None:
                outer.imported.add((*target, *rest))
            elif not hides or root not in self.bound or root in self.not_local:
                outer.names.add((root, *rest))


class _Reader(ast.NodeVisitor):
    """Spells a statement as `code`, one word per line, and collects the names of its `scope`."""

    def __init__(self, package: str):
        self.code: list[str] = []
        self.scope = _Scope()
        self._package = package

    def visit(self, node: ast.AST) -> None:
        kind = type(node).__name__
        self.code.append(kind)
        method = getattr(self, f"visit_{kind}", None)
        if method is None:
            self._fields(node, node._fields)
        else:
            method(node)

    def _fields(self, node: ast.AST, names: tuple[str, ...]) -> None:
        for name in names:
            value = getattr(node, name, None)
            # Fields that newer versions of Python add are empty, and must not change the hash.
            if value is None or value == [] or name in ("ctx", "type_comment"):
                continue
            self.code.append(name)
            if isinstance(value, ast.AST):
                self.visit(value)
            elif isinstance(value, list):
                for part in value:
                    if isinstance(part, ast.AST):
                        self.visit(part)
                    else:
                        self.code.append(repr(part))
                self.code.append("]")
            else:
                self.code.append(repr(value))

    def _inside(
        self, node: ast.AST, fields: tuple[str, ...], bound: list[str], *, hides: bool = True
    ) -> None:
        """Read some fields of a node in a scope of their own."""
        outer, self.scope = self.scope, _Scope()
        self.scope.bound = dict.fromkeys(bound)
        self._fields(node, fields)
        self.scope.hand_over(outer, hides=hides)
        self.scope = outer

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            self.code.pop()  # a docstring
        else:
            self._fields(node, node._fields)

    def visit_Constant(self, node: ast.Constant) -> None:
        self.code.append(repr(node.value))

    def visit_Name(self, node: ast.Name) -> None:
        self.code.append(node.id)
        if isinstance(node.ctx, ast.Load):
            self.scope.names.add((node.id,))
        else:
            self.scope.bound.setdefault(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if name := dotted(node):
            self.code.append(".".join(name))
            self.scope.names.add(name)
        else:
            self._fields(node, node._fields)

    def visit_Call(self, node: ast.Call) -> None:
        self._fields(node, ("func", "args"))
        described = dotted(node.func)[-1:] == ("Field",)
        for keyword in node.keywords:
            if not (described and keyword.arg == "description"):
                self.visit(keyword)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.scope.bound.setdefault(node.name)
        self._fields(node, ("name", "decorator_list", "args", "returns"))
        self._inside(node, ("body",), _arguments(node.args))

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._fields(node, ("args",))
        self._inside(node, ("body",), _arguments(node.args))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.scope.bound.setdefault(node.name)
        self._fields(node, ("name", "decorator_list", "bases", "keywords"))
        self._inside(node, ("body",), [], hides=False)

    def _comprehension(self, node: ast.AST) -> None:
        first = node.generators[0]
        self.visit(first.iter)  # in the scope around it; once more inside, which adds nothing
        outer, self.scope = self.scope, _Scope()
        for generator in node.generators:
            self.visit(generator.target)
            if generator is not first:
                self.visit(generator.iter)
            self._fields(generator, ("ifs", "is_async"))
        self._fields(node, tuple(name for name in node._fields if name != "generators"))
        self.scope.hand_over(outer, hides=True)
        self.scope = outer

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.scope.bound.setdefault(node.name)
        self._fields(node, node._fields)

    def visit_Global(self, node: ast.Global | ast.Nonlocal) -> None:
        self.scope.not_local |= set(node.names)
        self._fields(node, node._fields)

    visit_Nonlocal = visit_Global

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            top = alias.name.partition(".")[0]
            self.scope.bound[alias.asname or top] = (alias.name if alias.asname else top,)
        self._fields(node, node._fields)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        parents = self._package.split(".") if node.level else []
        module = ".".join(
            [*parents[: len(parents) - node.level + 1], *([node.module] if node.module else [])]
        )
        for alias in node.names:
            if alias.name == "*":
                self.scope.bound["*"] = (module,)
                self.scope.imported.add((module,))
            else:
                self.scope.bound[alias.asname or alias.name] = (module, alias.name)
        self._fields(node, node._fields)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name:
            self.scope.bound.setdefault(node.name)
        self._fields(node, node._fields)

    visit_MatchStar = visit_MatchAs


def _arguments(arguments: ast.arguments) -> list[str]:
    every = [
        *arguments.posonlyargs,
        *arguments.args,
        *arguments.kwonlyargs,
        arguments.vararg,
        arguments.kwarg,
    ]
    return [argument.arg for argument in every if argument is not None]
