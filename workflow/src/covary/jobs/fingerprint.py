"""Content hash of the code behind a rule: an edit reruns the rules that use the edited definition, no others.

Snakemake sees edits of a rule's script, but not of the package that the script imports. This module follows
the names that a script uses, through the faces of the rooms, to their definitions. What counts:

- of a script: all of it;
- of a module: the functions, constants and whole classes that are used; if there are any, also the
  statements that do something when the module is imported;
- of a module that is used as an object, as in `f(store)`, `getattr(store, x)` or `from store import *`: all;
- of a module in `LEFT_OUT`: nothing. It decides how a job runs, not what it results in.

Comments, docstrings, layout, descriptions of settings, `__all__`, and blocks for type checkers or for
`python -m` do not count. Drawing code needs no exception: only rules that draw use `covary.figures`.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from covary.files import user_cache, whole
from covary.jobs.definitions import Name, Source, Statement

LEFT_OUT = frozenset(
    {
        "covary.errors",  # the kind of an error; what raises it counts
        "covary.files",  # how a file gets its name, not what is in it
        "covary.jobs.definitions",
        "covary.jobs.fingerprint",
        "covary.jobs.gpu",
        "covary.jobs.job",
        "covary.jobs.lock",
        "covary.jobs.parallel",  # how many processes work; the order of results is that of the items
        "covary.jobs.progress",
    }
)
_STATEMENTS, _ALL = "", "*"  # where the name of a definition would stand

_ROOT = Path(__file__).parents[1]

Definition = tuple[str, str]  # module and name


def fingerprints(scripts: Path, root: Path = _ROOT) -> dict[str, str]:
    """Hash of each rule script in a folder and of every definition of the package that it uses, by its name.

    To follow every name takes seconds. So the hashes are kept in the user's cache folder, one file per
    package, and count only for the same sources and scripts.
    """
    of_sources = f"{sources_digest(root)} {sources_digest(scripts)}"
    kept = user_cache() / "fingerprints" / f"{hashlib.sha256(str(root.resolve()).encode()).hexdigest()}.json"
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    if known.get("of_sources") != of_sources:
        package = Package(root)
        prints = {file.stem: package.fingerprint(file) for file in sorted(scripts.glob("*.py"))}
        known = {"of_sources": of_sources, "fingerprints": prints}
        with suppress(OSError):  # where nothing can be written, nothing is kept
            kept.parent.mkdir(parents=True, exist_ok=True)
            with whole(kept) as partial:
                partial.write_text(json.dumps(known), encoding="utf-8")
    return known["fingerprints"]


def sources_digest(folder: Path = _ROOT) -> str:
    """Hash of the names and contents of all Python files in a folder; by default those of the package."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(folder)} {content}\n".encode())
    return digest.hexdigest()


class Package:
    """The sources of the package in the folder `root`. Each file is read once."""

    def __init__(self, root: Path):
        self._root = root
        self._sources: dict[str, Source | None] = {}
        self._targets: dict[Definition, set[Definition]] = {}

    def fingerprint(self, script: Path) -> str:
        """Hash of a script and of the definitions that it uses."""
        source = Source(script, script.stem, script=True)
        lines = [statement.digest for statement in source.everything()]
        for module, name in sorted(self._reached(source)):
            lines.append(f"{module} {name}")
            lines += [statement.digest for statement in self._statements(module, name)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def uses(self, script: Path) -> set[Definition]:
        """Module and name of every definition that a script uses; the name is empty for other statements."""
        return self._reached(Source(script, script.stem, script=True))

    def _reached(self, script: Source) -> set[Definition]:
        pending = [target for s in script.everything() for target in self._used(s, script, None)]
        found: set[Definition] = set()
        while pending:
            definition = pending.pop()
            if definition not in found:
                found.add(definition)
                pending += self._targets_of(definition)
        return {(module, name) for module, name in found if name != _ALL}

    def _targets_of(self, definition: Definition) -> set[Definition]:
        """What a definition uses itself."""
        if definition not in self._targets:
            module, name = definition
            source = self._sources[module]
            if name == _ALL:
                targets = {(module, each) for each in source.definitions}
                targets |= {t for full_name in source.imports.values() for t in self._resolve(full_name)}
            else:
                targets = {t for s in self._statements(module, name) for t in self._used(s, source, module)}
            self._targets[definition] = targets
        return self._targets[definition]

    def _statements(self, module: str, name: str) -> list[Statement]:
        source = self._sources[module]
        return source.statements if name == _STATEMENTS else source.definitions[name]

    def _used(self, statement: Statement, source: Source, module: str | None) -> Iterator[Definition]:
        """The definitions behind the names in a statement. A script, which counts whole, has no `module`."""
        for root, *rest in statement.names:
            if root in source.imports:
                yield from self._resolve((*source.imports[root], *rest))
            if root in source.definitions and module is not None:
                yield module, root
        for full_name in statement.imported:
            yield from self._resolve(full_name)

    def _resolve(self, full_name: Name) -> Iterator[Definition]:
        """What a name such as ("covary.store", "read", "x") means; nothing if it is not of the package."""
        name, *rest = full_name
        source = self._source(name)
        if source is None or name in LEFT_OUT:
            return
        parents = name.split(".")
        for depth in range(1, len(parents) + 1):  # Python runs the faces of the rooms around a module first
            if self._source(around := ".".join(parents[:depth])) is not None:
                yield around, _STATEMENTS
        if not rest:
            yield name, _ALL
        elif rest[0] in source.definitions:
            yield name, rest[0]
        elif rest[0] in source.imports:
            yield from self._resolve((*source.imports[rest[0]], *rest[1:]))
        elif self._source(inner := f"{name}.{rest[0]}") is not None:
            yield from self._resolve((inner, *rest[1:]))
        elif not rest[0].startswith("__"):  # `__file__` and its like name no code
            yield name, _ALL

    def _source(self, module: str) -> Source | None:
        """The source of a module of the package; None for any other name."""
        if module not in self._sources:
            top, *inner = module.split(".")
            path = self._root.joinpath(*inner)
            path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            known = top == self._root.name and path.exists()
            self._sources[module] = Source(path, module) if known else None
        return self._sources[module]
