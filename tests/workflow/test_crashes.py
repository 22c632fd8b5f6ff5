"""Runs that are killed, or started twice, or fill the disk."""

import base64
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from checkout import Project

from covary import store
from covary.store import read_marker

pytestmark = pytest.mark.slow

KILLS = 20


def start(project, *arguments):
    """Snakemake at the head of a process group of its own, with all it prints in a file."""
    output = (project.folder / "output").open("w")
    command = project.command(*arguments, config="config/tiny.yaml")
    return subprocess.Popen(command, cwd=project.folder, stdout=output, stderr=output, start_new_session=True)


def kill_group(run):
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def unlock(project):
    done = subprocess.run(
        [sys.executable, "-m", "covary.cli", "unlock"],
        cwd=project.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def wait_for(condition, run, timeout_s=200.0):
    """Poll until the condition holds or the run has ended; whether it holds."""
    end = time.monotonic() + timeout_s
    while run.poll() is None and time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def names(folder, suffix):
    """The jobs that have such a file: paths relative to the folder, without suffix."""
    return {str(file.relative_to(folder).with_suffix("")) for file in folder.rglob(f"*{suffix}")}


def begun(project):
    """The outputs of jobs that Snakemake has started and not seen end."""
    folder = project.folder / ".snakemake" / "incomplete"
    return {base64.b64decode(file.name).decode() for file in folder.rglob("*") if file.is_file()}


def stopped_in_a_new_job(run, project, interrupted, draw):
    """Stop the run at random moments until it is in a job that no kill has hit; False if it ends first."""
    while True:
        time.sleep(draw.uniform(0.05, 1.5))
        if run.poll() is not None:
            return False
        os.killpg(run.pid, signal.SIGSTOP)  # what is under way cannot end while it is looked at
        if begun(project) - interrupted:
            return True
        os.killpg(run.pid, signal.SIGCONT)


def test_twenty_kills_at_random_moments_leave_the_same_dataset(finished, project):
    draw = np.random.default_rng(5)
    benchmarks = project.results / "benchmarks"
    last = sum(project.planned().values()) - 3  # the jobs after it are over in moments
    interrupted, kills = set(), 0
    for kill in range(KILLS):
        run = start(project)
        reached = kill * last // KILLS  # kills reach every stage
        wait_for(lambda reached=reached: len(names(benchmarks, ".tsv")) >= reached, run)
        if not stopped_in_a_new_job(run, project, interrupted, draw):
            assert run.returncode == 0, (project.folder / "output").read_text()[-3000:]
            break
        kill_group(run)
        interrupted |= begun(project)
        kills += 1
        unlock(project)
    assert kills > KILLS / 2, interrupted  # more than half of the stages are behind the kill after that
    run = project.snakemake()
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert project.planned() == {}
    assert (project.results / "manifest.json").read_text() == (finished.results / "manifest.json").read_text()
    assert store.verify(project.results / "dataset.zarr", project.results / "manifest.json") == []
    assert not list((project.results / "dataset.zarr").rglob("*.partial"))


def test_a_killed_run_is_unlocked_and_goes_on(project):
    target = "resources/phantom/tiny/factors.parquet"
    run = start(project, target)
    assert wait_for((project.folder / ".snakemake" / "covary-tiny.lock").exists, run)
    kill_group(run)
    refused = project.snakemake(target)
    assert refused.returncode != 0 and "--unlock" in refused.stdout + refused.stderr
    unlock(project)
    assert project.snakemake(target).returncode == 0


def test_a_second_run_is_refused_and_the_first_one_undisturbed(project):
    target = "resources/phantom/tiny/factors.parquet"
    first = start(project, target)
    assert wait_for((project.folder / ".snakemake" / "covary-tiny.lock").exists, first)
    first.send_signal(signal.SIGSTOP)  # so that it is still there
    second = project.snakemake(target)
    other = project.snakemake("resources/digits/labels.csv")  # no file in common, so Snakemake lets it pass
    first.send_signal(signal.SIGCONT)
    assert second.returncode != 0 and other.returncode != 0
    assert "cannot be locked" in second.stdout + second.stderr
    refusal = f"another run of tiny is going on in {project.folder} (process {first.pid} on"
    assert refusal in other.stdout + other.stderr
    assert "Traceback" not in second.stdout + second.stderr + other.stdout + other.stderr
    assert first.wait() == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 100 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100m", "covary-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs takes root on Linux")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_clear_line_and_the_job_succeeds_after_space_is_freed(
    finished, small_disk, tmp_path
):
    folder = tmp_path / "project"
    folder.mkdir()
    project = Project(folder)
    project.take_over(finished)
    shutil.copytree(project.results, small_disk / "tiny")
    shutil.rmtree(project.results.parent)
    project.results.parent.symlink_to(small_disk)
    marker = "results/tiny/markers/images/00001.json"
    (folder / marker).unlink()
    (project.results / "dataset.zarr/images/image/c/1/0/0").unlink()
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    full = project.snakemake(marker, "--rerun-triggers", "mtime")
    assert full.returncode != 0
    message = full.stdout + full.stderr
    assert "No space left on device" in message and "Traceback" not in message
    assert not (folder / marker).exists()
    ballast.unlink()
    assert project.snakemake(marker, "--rerun-triggers", "mtime").returncode == 0
    expected = read_marker(finished.folder / marker)
    assert read_marker(folder / marker) == expected
