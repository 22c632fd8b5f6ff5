import subprocess
import sys

import pytest

from covary.jobs import lock

HOLD = """
import time
from pathlib import Path
from covary.jobs import lock
lock.hold_run(Path({folder!r}))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of the folder."""
    code = HOLD.format(folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def left_behind(tmp_path):
    """What Snakemake leaves when it is killed."""
    file = tmp_path / ".snakemake" / "locks" / "0.input.lock"
    file.parent.mkdir(parents=True)
    file.write_text("results/a")
    return file


def test_a_second_run_is_refused_and_the_first_one_named(tmp_path, other):
    with pytest.raises(ValueError, match=rf"another run is going on in .* .process {other.pid} on "):
        lock.hold_run(tmp_path)


def test_the_lock_dies_with_its_holder(tmp_path, other, left_behind):
    other.kill()
    other.wait()
    assert lock.clear_stale(tmp_path)
    assert not left_behind.exists()
    lock.hold_run(tmp_path)
    lock.release(tmp_path / ".snakemake" / "covary.lock")


def test_the_lock_of_a_live_run_stays(tmp_path, other, left_behind):
    with pytest.raises(ValueError, match="another run is going on"):
        lock.clear_stale(tmp_path)
    assert left_behind.exists()


def test_the_lock_of_another_machine_stays(tmp_path, left_behind):
    (tmp_path / ".snakemake" / "covary.lock").write_text("17 elsewhere")
    with pytest.raises(ValueError, match=r"the last run in .* was process 17 on elsewhere"):
        lock.clear_stale(tmp_path)
    assert left_behind.exists()


def test_nothing_to_clear(tmp_path):
    assert not lock.clear_stale(tmp_path)
    (tmp_path / ".snakemake" / "locks").mkdir(parents=True)
    assert not lock.clear_stale(tmp_path)
