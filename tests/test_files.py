"""Files and folders appear whole or not at all."""

import signal
import subprocess
import sys

import pytest

from covary.files import whole

KILLED = """
import os, pathlib, signal, sys
from covary.files import whole
with whole(pathlib.Path(sys.argv[1])) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("before")
    with whole(path) as partial:
        partial.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_exception_leaves_what_was_there_and_nothing_else(tmp_path, kind):
    path = tmp_path / "a"
    with pytest.raises(KeyboardInterrupt), whole(path) as partial:
        if kind == "folder":
            partial.mkdir()
            partial = partial / "inside"
        partial.write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_a_folder_is_not_written_over_another(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "kept").touch()
    with pytest.raises(OSError, match="not empty"), whole(tmp_path / "a") as partial:
        partial.mkdir()
    assert (tmp_path / "a" / "kept").exists() and names(tmp_path) == ["a"]


def test_a_kill_leaves_what_was_there(tmp_path):
    path = tmp_path / "a"
    path.write_text("before")
    run = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert run.returncode == -signal.SIGKILL
    assert path.read_text() == "before"
