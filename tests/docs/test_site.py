"""The documentation site: its pages are all there and in its contents; it builds without a dead link."""

import importlib.util
import subprocess
import sys

import pytest
import yaml
from checkout import ROOT

DOCS_PYTHON = ROOT / ".venv-docs" / "bin" / "python"


@pytest.fixture(scope="module")
def build():
    """docs/build.py, which is a program of the folder docs."""
    sys.path.insert(0, str(ROOT / "docs"))
    spec = importlib.util.spec_from_file_location("build_docs", ROOT / "docs" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(ROOT / "docs"))
    return module


def pages_in(entry) -> list[str]:
    """The files that an entry of `nav` names, at any depth."""
    if isinstance(entry, str):
        return [entry]
    below = entry if isinstance(entry, list) else entry.values()
    return [page for part in below for page in pages_in(part)]


def test_every_page_is_in_the_contents_once_and_every_entry_is_a_page(build, tmp_path):
    build.write_pages(tmp_path / "pages")
    reference = build.write_reference(tmp_path / "pages")
    nav = yaml.safe_load((ROOT / "docs" / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    there = [file.relative_to(tmp_path / "pages").as_posix() for file in (tmp_path / "pages").rglob("*.md")]
    assert sorted(pages_in(nav) + pages_in(reference)) == sorted(there)
    home = (tmp_path / "pages" / "index.md").read_text(encoding="utf-8")
    assert "](report.png)" in home and (tmp_path / "pages" / "report.png").is_file()


@pytest.mark.slow
@pytest.mark.skipif(not DOCS_PYTHON.exists(), reason="needs the environment of the site: make docs")
def test_the_site_builds_without_a_dead_link():
    run = subprocess.run(
        [DOCS_PYTHON, ROOT / "docs" / "build.py"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert (ROOT / "build" / "site" / "index.html").is_file()
