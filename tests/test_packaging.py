"""The dependencies that pyproject.toml declares are those that the package imports."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "workflow" / "src" / "covary"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# `pip install covary` is enough for these.
CORE = ("config", "dataset", "errors", "nlme", "plugins", "records", "resampling", "rng", "store")
# Installed by what is declared: by jinja2, matplotlib and pydantic.
PARTS = {"markupsafe", "cycler", "pydantic-core"}
# Programs rather than libraries.
PROGRAMS = {"snakemake"}


def names(requirements: list[str]) -> set[str]:
    """The distributions that requirements name, without Covary's own extras."""
    found = {re.match(r"[A-Za-z0-9._-]+", requirement).group().lower() for requirement in requirements}
    return found - {"covary"}


def imported(*rooms: str) -> set[str]:
    """The distributions that some rooms import, or all; code written out as text does not count."""
    modules = set()
    for path in SOURCES.rglob("*.py"):
        if rooms and path.relative_to(SOURCES).with_suffix("").parts[0] not in rooms:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module.partition(".")[0])
    distributions = packages_distributions()
    foreign = modules - set(sys.stdlib_module_names) - {"covary"}
    return {distributions.get(module, [module])[0].lower().replace("_", "-") for module in foreign}


def test_the_core_imports_what_pip_install_covary_brings():
    assert imported(*CORE) - PARTS <= names(PROJECT["dependencies"])


def test_no_dependency_is_missing_and_none_is_idle():
    declared = names(PROJECT["dependencies"]) | names(EXTRAS["images"]) | names(EXTRAS["workflow"])
    assert imported() - PARTS - names(EXTRAS["bm3d"]) == declared - PROGRAMS


def test_the_lock_holds_every_dependency_with_hashes_and_names_no_index():
    text = (ROOT / "envs" / "requirements.lock").read_text(encoding="utf-8")
    locked = re.findall(r"^([a-z0-9._-]+)==", text, re.MULTILINE)
    extras = [name for extra, some in EXTRAS.items() if extra != "bm3d" for name in names(some)]
    assert names(PROJECT["dependencies"]) | set(extras) <= set(locked)
    assert text.count("--hash=sha256:") >= len(locked)
    assert "index-url" not in text and "://" not in text
