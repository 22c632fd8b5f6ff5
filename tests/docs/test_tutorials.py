"""The code of the tutorials runs as it stands, and their configurations are valid."""

import re
from pathlib import Path

import pytest
import yaml

from covary.config.reading import load

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "pages").rglob("*.md"))
NEEDS_DEMO = {"first-run", "own-network"}
TAKES_LONG = {"own-model"}  # README's own model, which is like it, runs in `tests/nlme/test_readme.py`


def blocks(page, language):
    """The code blocks of a page, each at its own line, so that a traceback points into the page."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(rf"^```{language}\n(.*?)^```", text, re.M | re.S)
    return ["\n" * text.count("\n", 0, block.start(1)) + block[1] for block in found]


def run(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    names = {"__name__": page.stem}
    for code in blocks(page, "python"):
        exec(compile(code, str(page), "exec"), names)
    return names


def pages_with_python(*, needing_demo):
    pages = [page for page in PAGES if blocks(page, "python") and (page.stem in NEEDS_DEMO) is needing_demo]
    assert pages
    marked = [pytest.param(p, marks=[pytest.mark.slow] * (p.stem in TAKES_LONG), id=p.stem) for p in pages]
    return pytest.mark.parametrize("page", marked)


@pages_with_python(needing_demo=False)
def test_code_runs(page, tmp_path, monkeypatch):
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    run(page, tmp_path, monkeypatch)  # the pages assert what they show


@pytest.mark.slow
@pages_with_python(needing_demo=True)
def test_code_runs_on_a_finished_dataset(page, finished, tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "demo").symlink_to(finished.results)
    run(page, tmp_path, monkeypatch)


def test_a_page_whose_code_is_wrong_fails(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("```python\nassert 1 + 1 == 3\n```\n")
    with pytest.raises(AssertionError):
        run(page, tmp_path, monkeypatch)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "yaml")], ids=lambda page: page.stem)
def test_configurations_are_valid(page, tmp_path):
    for n, text in enumerate(blocks(page, "yaml")):
        file = tmp_path / f"{n}.yaml"
        file.write_text(text, encoding="utf-8")
        assert load(file).experiment == yaml.safe_load(text)["experiment"]
