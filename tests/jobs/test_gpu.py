import os
import subprocess
import sys

import pytest

from covary.jobs import gpu, lock


@pytest.fixture
def workstation(tmp_path, monkeypatch):
    """A machine with two GPUs and nothing else running on it."""
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "driver" / name).mkdir(parents=True)
    monkeypatch.setattr(gpu, "_DRIVER", tmp_path / "driver")
    monkeypatch.setattr(gpu.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that it is put back
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    yield tmp_path / f"covary-{os.getuid()}"
    for i in range(2):
        lock.release(tmp_path / f"covary-{os.getuid()}" / f"gpu-{i}.lock")


def other_job(workstation, then):
    """Another process that has the first GPU."""
    lines = (
        "import os, signal",
        "from pathlib import Path",
        "from covary.jobs import lock",
        f"lock.take(Path({str(workstation / 'gpu-0.lock')!r}))",
        "print('held', flush=True)",
        then,
    )
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process = subprocess.Popen([sys.executable, "-c", "\n".join(lines)], **pipes)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_job_gets_the_first_free_gpu(workstation):
    other = other_job(workstation, "input()")
    gpu.claim()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    other.communicate("\n")


def test_a_gpu_is_free_again_when_its_job_is_killed(workstation):
    other_job(workstation, "os.kill(os.getpid(), signal.SIGKILL)").communicate()
    gpu.claim()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


def test_what_a_scheduler_assigned_stays(workstation, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    gpu.claim()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1" and not workstation.exists()
