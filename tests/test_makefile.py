"""What `make` says of a checkout that was moved after its environment was made."""

import os
import shutil
import subprocess

import pytest
from checkout import ROOT


def make_env(folder, made_in: str) -> subprocess.CompletedProcess:
    """`make env` in a checkout whose environment is there and was made in some folder."""
    (folder / "envs").mkdir(parents=True)
    for file in ("Makefile", "pyproject.toml", "envs/requirements.lock", "envs/uv.lock.txt"):
        shutil.copyfile(ROOT / file, folder / file)
    (folder / ".venv").mkdir()
    (folder / ".venv" / ".complete").write_text(made_in)
    # The `make` that may run the tests would otherwise add what it does to what this one says.
    own = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    return subprocess.run(["make", "env"], cwd=folder, capture_output=True, text=True, check=False, env=own)


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_checkout_that_was_moved_says_how_to_make_its_environment_anew(tmp_path):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    moved = make_env(here, f"{elsewhere}\n")
    assert moved.returncode != 0
    told = f"this checkout was moved from {elsewhere}; make its environment anew: rm -rf .venv && make env"
    assert moved.stdout.splitlines()[0] == told
    assert make_env(elsewhere, f"{elsewhere}\n").returncode == 0
