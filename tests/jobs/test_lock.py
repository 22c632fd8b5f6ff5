import subprocess
import sys

import pytest

from covary.jobs import lock

HOLD = """
import time
from pathlib import Path
from covary.jobs import lock
lock.hold_run(Path({folder!r}), "a")
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
    file.write_text("results/a/vae/weights.safetensors\nresources/phantom/a/factors.parquet\n")
    return file


def test_a_second_run_is_refused_and_the_first_one_named(tmp_path, other):
    with pytest.raises(ValueError, match=rf"another run of a is going on in .* .process {other.pid} on "):
        lock.hold_run(tmp_path, "a")
    with pytest.raises(ValueError, match=rf"another run of a is going on in .* .process {other.pid} on "):
        lock.check_no_run(tmp_path, "a")
    lock.check_no_run(tmp_path, "b")


def test_the_lock_dies_with_its_holder(tmp_path, other, left_behind):
    other.kill()
    other.wait()
    assert lock.clear_stale(tmp_path)
    assert not left_behind.exists()
    lock.hold_run(tmp_path, "a")
    lock.release(tmp_path / ".snakemake" / "covary-a.lock")


def test_another_experiment_may_run_at_the_same_time(tmp_path, other):
    lock.hold_run(tmp_path, "b")
    lock.release(tmp_path / ".snakemake" / "covary-b.lock")


def test_the_lock_of_a_live_run_stays(tmp_path, other, left_behind):
    with pytest.raises(ValueError, match=rf"a run is going on in .* .a: process {other.pid} on "):
        lock.clear_stale(tmp_path)
    assert left_behind.exists()


def test_beside_a_live_run_the_lock_of_a_killed_one_goes(tmp_path, other, left_behind):
    killed = left_behind.with_name("1.input.lock")
    killed.write_text("results/b/vae/weights.safetensors\n")
    shared = left_behind.with_name("2.input.lock")
    shared.write_text("resources/digits/labels.csv\n")
    assert lock.stale(tmp_path) == [killed]
    other.kill()
    other.wait()
    assert lock.stale(tmp_path) == [left_behind, killed, shared]


def test_the_lock_of_another_machine_stays(tmp_path, left_behind):
    (tmp_path / ".snakemake" / "covary-a.lock").write_text("17 elsewhere")
    with pytest.raises(ValueError, match=r"a run is going on in .* .a: process 17 on elsewhere"):
        lock.clear_stale(tmp_path)
    assert left_behind.exists()


def test_nothing_to_clear(tmp_path):
    assert not lock.clear_stale(tmp_path)
    (tmp_path / ".snakemake" / "locks").mkdir(parents=True)
    assert not lock.clear_stale(tmp_path)
