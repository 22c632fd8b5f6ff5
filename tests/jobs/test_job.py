import json
import signal
import subprocess
import sys

import pytest

SCRIPT = "from covary.jobs.job import job\nwith job('{log}'):\n    {body}\n"


def run(tmp_path, body):
    log = tmp_path / "logs" / "rule.log"
    code = SCRIPT.format(log=log, body=body)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done, log.read_text()


def test_bad_input_is_one_line_and_a_failure(tmp_path):
    fault = "__import__('covary.errors').errors.UserError('scans: expected images, found none')"
    done, log = run(tmp_path, f"raise {fault}")
    assert done.returncode == 1
    assert done.stderr == "error: scans: expected images, found none\n"
    assert "scans: expected images" in log and "Traceback" in log


def test_a_full_disk_is_one_line(tmp_path):
    done, log = run(tmp_path, "raise OSError(28, 'No space left on device')")
    assert done.returncode == 1
    assert done.stderr == "error: [Errno 28] No space left on device\n"
    assert "Traceback" in log


@pytest.mark.parametrize(
    "fault",
    [
        "1 / 0",
        "__import__('numpy').linalg.inv([[0.0]])",
        "__import__('numpy').ones(2).reshape(3)",  # a ValueError
        "int('three')",
    ],
)
def test_a_fault_of_the_program_keeps_its_traceback_and_names_the_log(tmp_path, fault):
    done, log = run(tmp_path, fault)
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "Traceback" in log
    where = [line for line in done.stderr.splitlines() if str(tmp_path / "logs" / "rule.log") in line]
    assert len(where) == 1 and where[0].startswith("error: the program failed (")


def test_messages_reach_terminal_and_file(tmp_path):
    done, log = run(tmp_path, "__import__('logging').getLogger('covary.x').info('3 images')")
    assert done.returncode == 0
    assert done.stderr == "3 images\n" and log.endswith("INFO 3 images\n")


def test_a_job_that_still_runs_is_not_started_again(tmp_path):
    log = tmp_path / "logs" / "rule.log"
    code = SCRIPT.format(log=log, body="__import__('logging').getLogger('covary.x').info('half'); "
                         "print('started', flush=True); __import__('time').sleep(60)")  # fmt: skip
    first = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "started\n"
    second, of_first = run(tmp_path, "raise AssertionError")
    assert second.returncode == 1 and of_first.endswith("INFO half\n")
    assert second.stderr.startswith(f"error: process {first.pid} on ")
    first.kill()
    first.wait()
    assert run(tmp_path, "pass")[0].returncode == 0


def test_an_interrupt_ends_the_job_at_once_without_a_traceback(tmp_path):
    log = tmp_path / "logs" / "rule.log"
    body = "print('started', flush=True); __import__('time').sleep(60)"
    job = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(log=log, body=body)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert job.stdout.readline() == "started\n"
    job.send_signal(signal.SIGINT)
    _, said = job.communicate(timeout=30)
    assert job.returncode == 130
    assert said == "interrupted; the job goes on where it was when it is started again\n"


def test_a_job_keeps_a_file_of_its_progress_until_it_ends(tmp_path):
    log = tmp_path / "logs" / "rule.log"
    body = (
        "from covary.jobs.progress import progress; bar = progress(12, 2, 'epochs'); bar.update(); "
        f"print(open({str(log.with_suffix('.progress'))!r}).read())"
    )
    done, _ = run(tmp_path, body)
    assert json.loads(done.stdout) == {"label": "epochs", "done": 3, "total": 12}
    assert not log.with_suffix(".progress").exists()
