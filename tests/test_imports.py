"""The picture of imports: rooms from low to high, no circle, names spelt in one place."""

import ast
import graphlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "workflow" / "src" / "covary"
SCRIPTS = Path(__file__).parents[1] / "workflow" / "scripts"

# Each line imports from the lines above it only. A module by its own name is lower than the rest of its room.
LOW_TO_HIGH = """
    errors  wording
    rng  plugins  gates  files
    resampling  config  jobs
    dataset.names  dataset.shards
    store  images  nlme
    dataset.scenario  dataset.latents  phantom  training
    dataset  vae
    records  diffusion  phenotypes
    predict  quality  amortised
    evaluate
    preflight
    export  publication  figures
    report
    console
    cli
"""
LEVEL = {name: level for level, line in enumerate(LOW_TO_HIGH.split("\n")) for name in line.split()}


def module_name(path: Path) -> str:
    """`nlme.fit` of covary/nlme/fit.py; `nlme` of a face."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip(".")


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports_of(path: Path) -> set[str]:
    """The modules of covary that a file imports, also inside functions."""
    named = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            named |= {name if name.removeprefix("covary.") in MODULES else node.module for name in whole}
    return {name.removeprefix("covary.") for name in named if name.startswith("covary.")}


IMPORTS = {name: imports_of(path) for name, path in MODULES.items()}


def place(module: str) -> str:
    """The entry of `LOW_TO_HIGH` that a module belongs to."""
    return module if module in LEVEL else module.partition(".")[0]


def test_every_room_has_its_place():
    assert {place(name) for name in MODULES if name} <= set(LEVEL)


@pytest.mark.parametrize("module", [name for name in MODULES if name])
def test_no_module_imports_from_beside_or_above(module):
    here = place(module)
    wrong = {
        other for other in IMPORTS[module] if place(other) != here and LEVEL[place(other)] >= LEVEL[here]
    }
    assert not wrong, f"{module} imports {', '.join(sorted(wrong))}"


def test_there_is_no_circle():
    tuple(graphlib.TopologicalSorter(IMPORTS).static_order())  # raises CycleError and names the circle


def test_the_configuration_imports_nothing_but_itself_and_the_error():
    outside = {other for name in MODULES if place(name) == "config" for other in IMPORTS[name]}
    assert {place(other) for other in outside} <= {"config", "errors"}


def test_nothing_that_computes_imports_what_draws():
    drawing = {"figures", "report", "publication", "export", "cli"}
    users = {name for name, others in IMPORTS.items() if {place(other) for other in others} & drawing}
    assert {place(name) for name in users} <= drawing


def test_scripts_do_not_count_parent_folders():
    assert [path.name for path in SCRIPTS.glob("*.py") if ".parents[" in path.read_text()] == []


def test_only_names_spells_the_path_of_a_group_or_a_marker():
    path_of_group = re.compile(r"(^|[/ ])(markers|longitudinal|estimates|predictions|posteriors)/")
    spelt = []
    for path in [*MODULES.values(), *SCRIPTS.glob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
            if text and path_of_group.search(node.value) and path != MODULES["dataset.names"]:
                spelt.append(f"{path.name}:{node.lineno} {node.value!r}")
    assert spelt == []


def test_only_names_spells_a_group_that_is_read_or_opened():
    """As in `store.read(dataset, "subjects")`, `tree["images"]` or, in the store, `path / "images"`."""
    groups = {"subjects", "design", "images"}

    def is_group(node):
        return isinstance(node, ast.Constant) and node.value in groups

    spelt = []
    for path in [*MODULES.values(), *SCRIPTS.glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(attr="read") | ast.Name(id="read"), args=[_, second]):
                    found = is_group(second)
                case ast.Subscript(value=ast.Attribute(attr="tree") | ast.Name(id="tree"), slice=key):
                    found = is_group(key)
                case ast.BinOp(op=ast.Div(), right=right) if path.parent.name == "store":
                    found = is_group(right)
                case _:
                    found = False
            if found:
                spelt.append(f"{path.name}:{node.lineno}")
    assert spelt == []


def test_jobs_without_networks_do_not_wait_for_their_library():
    names = (
        "write_report",
        "write_provenance",
        "describe_dataset",
        "evaluate",
        "plot_workflow",
        "fit_population",
    )
    code = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    paths = f"{SCRIPTS}{os.pathsep}{ROOT.parent}"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, check=True)
