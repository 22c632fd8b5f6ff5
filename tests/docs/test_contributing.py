"""The examples of CONTRIBUTING.md fit the present code."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = dict(
    re.findall(
        r"^## (Add [^\n]*)\n(?:(?!^## ).)*?^```diff\n(.*?)^```",
        (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The files that examples change."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("workflow/src", "workflow/rules", "workflow/scripts", "workflow/report"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def apply(example, folder):
    command = ["git", "apply", "-"]
    return subprocess.run(command, cwd=folder, input=example, capture_output=True, text=True, check=False)


def test_there_is_an_example_for_each_kind_of_extension():
    assert len(EXAMPLES) == 5


@pytest.mark.parametrize("title", EXAMPLES)
def test_examples_apply_and_are_valid_python(copy, title):
    run = apply(EXAMPLES[title], copy)
    assert run.returncode == 0, f"CONTRIBUTING.md, {title}: {run.stderr}"
    for name in re.findall(r"^\+\+\+ b/(\S+\.py)$", EXAMPLES[title], re.MULTILINE):
        compile((copy / name).read_text(encoding="utf-8"), name, "exec")


def test_an_example_of_other_code_does_not_apply(copy):
    wrong = "--- a/workflow/src/covary/rng.py\n+++ b/workflow/src/covary/rng.py\n@@ -1,1 +1,1 @@\n-no\n+yes\n"
    assert "patch does not apply" in apply(wrong, copy).stderr
