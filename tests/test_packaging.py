"""The dependencies that pyproject.toml declares are those that the package imports."""

import ast
import re
import shutil
import subprocess
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
# Extras that are not in the lock, because a user asks for them.
NOT_LOCKED = ("bm3d",)
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
    extras = set().union(*(names(EXTRAS[extra]) for extra in ("images", "medical", "workflow")))
    declared = names(PROJECT["dependencies"]) | extras
    asked_for = set().union(*(names(EXTRAS[extra]) for extra in NOT_LOCKED))
    assert imported() - PARTS - asked_for == declared - PROGRAMS


def test_the_lock_holds_every_dependency_with_hashes_and_names_no_index():
    text = (ROOT / "envs" / "requirements.lock").read_text(encoding="utf-8")
    locked = re.findall(r"^([a-z0-9._-]+)==", text, re.MULTILINE)
    extras = [name for extra, some in EXTRAS.items() if extra not in NOT_LOCKED for name in names(some)]
    assert names(PROJECT["dependencies"]) | set(extras) <= set(locked)
    assert text.count("--hash=sha256:") >= len(locked)
    assert "index-url" not in text and "://" not in text


def test_text_files_are_utf8_in_every_locale():
    """Ruff finds every place that opens a text file in the encoding of the locale."""
    places = [ROOT / "workflow", ROOT / "examples"]
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--preview",
        "--select",
        "PLW1514",
        *places,
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_a_moved_checkout_is_noticed(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "envs").mkdir()
    for name in ("envs/requirements.lock", "envs/uv.lock.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    (tmp_path / ".venv").mkdir()
    stamp = tmp_path / ".venv" / ".complete"
    for made_in, status in ((str(tmp_path), 0), ("", 0), ("/elsewhere", 2)):
        stamp.write_text(made_in)
        done = subprocess.run(["make", "env"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
    assert "was moved from /elsewhere" in done.stdout and "rm -rf .venv && make env" in done.stdout
