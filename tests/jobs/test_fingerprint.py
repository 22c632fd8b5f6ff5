from pathlib import Path

import pytest

from covary.jobs import fingerprint as module
from covary.jobs.fingerprint import fingerprint


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package in covary's place: a script uses `a`, which uses `b`; `c` stands apart."""
    root = tmp_path / "covary"
    (root / "d").mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "config.py").write_text("x = 1\n")
    (root / "a.py").write_text("from covary import b, config\n")
    (root / "b.py").write_text("x = 1\n")
    (root / "c.py").write_text("x = 1\n")
    (root / "d" / "__init__.py").write_text("from covary.d.e import y\n")
    (root / "d" / "e.py").write_text("y = 1\n")
    (tmp_path / "script.py").write_text("from covary import a\nfrom covary.d import y\n")
    monkeypatch.setattr(module, "_PACKAGE", root)
    return tmp_path


def rerun(package: Path) -> str:
    module._imports.cache_clear()
    module._code.cache_clear()
    return fingerprint(package / "script.py")


@pytest.mark.parametrize(
    "edited", ["script.py", "covary/a.py", "covary/b.py", "covary/d/__init__.py", "covary/d/e.py"]
)
def test_edits_of_what_a_script_uses_change_its_fingerprint(package, edited):
    before = rerun(package)
    path = package / edited
    path.write_text(path.read_text() + "z = 2\n")
    assert rerun(package) != before


@pytest.mark.parametrize("edited", ["covary/c.py", "covary/config.py"])
def test_edits_elsewhere_do_not(package, edited):
    before = rerun(package)
    (package / edited).write_text("x = 2\n")
    assert rerun(package) == before


def test_comments_docstrings_and_layout_do_not_count(package):
    before = rerun(package)
    (package / "covary/b.py").write_text('"""A docstring."""\n\n# a comment\nx   =   1\n')
    assert rerun(package) == before
