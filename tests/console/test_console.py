"""What a person sees of a run."""

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest
from checkout import ROOT
from rich.console import Console

from covary.console import screen
from covary.console.follow import Lines, error_of, progress_of, warnings_of
from covary.console.run import executor
from covary.console.run_state import RunState
from covary.console.stages import Stages, expected_seconds

LOG = """\
2026-11-26 11:48:32,123 INFO images become squares
2026-11-26 11:48:33,001 WARNING left out: a.png: cannot be read
2026-11-26 11:48:33,002 WARNING /usr/lib/x.py:12: UserWarning: deprecated
  warnings.warn(
2026-11-26 11:48:34,001 DEBUG traceback
Traceback (most recent call last):
covary.errors.UserError: scans: holds no images
2026-11-26 11:48:34,002 ERROR error: scans: holds no images
"""


def planned(folder, **jobs):
    state = RunState(Stages(ROOT / "Snakefile"), folder / "results")
    state.take({"event": "run_info", "stats": {**jobs, "all": 1, "total": sum(jobs.values()) + 1}})
    return state


def started(state, number, rule, log):
    state.take({"event": "job_info", "jobid": number, "rule_name": rule, "wildcards": {}, "log": [str(log)]})


def test_every_rule_has_a_stage_and_usual_times_are_those_of_rules():
    from covary.console.stages import USUAL_S

    stages = Stages(ROOT / "Snakefile")
    rules = {path.stem for path in (ROOT / "workflow" / "scripts").glob("*.py")}
    assert all(stages.of(rule) for rule in rules)
    assert all(stages.of(rule) for rule in USUAL_S)
    assert stages.names[0] == "Resources" and "Image VAE" in stages.names
    assert stages.of("all") is None


def test_expected_seconds_are_those_of_an_earlier_run(tmp_path):
    (tmp_path / "generate_images").mkdir()
    for shard, seconds in enumerate((10, 30)):
        text = f"s\th:m:s\n{seconds}.0\t0:00:{seconds}\n"
        (tmp_path / "generate_images" / f"{shard}.tsv").write_text(text)
    found = expected_seconds(["generate_images", "train_image_vae", "unheard_of"], tmp_path)
    assert found == {"generate_images": 20, "train_image_vae": 150, "unheard_of": 2}


def test_the_share_done_counts_running_jobs_and_the_time_left_follows(tmp_path):
    state = planned(tmp_path, encode_images=1, train_image_vae=2)
    assert state.fraction() == 0 and state.seconds_left() is None
    log = tmp_path / "vae.log"
    started(state, 1, "encode_images", tmp_path / "encode.log")
    started(state, 2, "train_image_vae", log)
    state.take({"event": "job_finished", "job_id": 1})
    log.with_suffix(".progress").write_text(json.dumps({"label": "epochs", "done": 3, "total": 12}))
    state.look()
    done = (2 + 150 / 4) / (2 + 2 * 150)
    assert state.fraction() == pytest.approx(done)
    state.started_s -= 100
    assert state.seconds_left() == pytest.approx(100 * (1 - done) / done, rel=1e-3)
    log.with_suffix(".progress").unlink()  # the job has ended, the event is on its way
    state.look()
    assert state.fraction() == pytest.approx(done)
    (stage,) = state.table()
    assert (stage.name, stage.n_done, stage.n_total) == ("Image VAE", 1, 3)


def test_a_job_that_takes_longer_than_expected_counts_for_what_it_takes(tmp_path):
    state = planned(tmp_path, encode_images=3, train_image_vae=1)
    log = tmp_path / "encode.log"
    for number, took_s in ((1, 100), (2, 40)):
        started(state, number, "encode_images", log)
        state.running[number].started_s -= took_s
    assert state.fraction() == 0
    log.with_suffix(".progress").write_text(json.dumps({"label": "images", "done": 1, "total": 4}))
    state.look()
    assert state.fraction() == pytest.approx(2 * 100 / (3 * 400 + 150), rel=1e-3)  # 100 s for a quarter
    state.take({"event": "job_finished", "job_id": 1})
    state.take({"event": "job_finished", "job_id": 2})
    assert state.fraction() == pytest.approx(2 * 70 / (3 * 70 + 150), rel=1e-3)  # 100 and 40 s


def test_warnings_of_science_come_once_and_those_of_libraries_stay_in_the_log(tmp_path):
    log = tmp_path / "rule.log"
    state = planned(tmp_path, prepare_images=1)
    started(state, 1, "prepare_images", log)
    log.write_text(LOG[:200])
    state.look()
    log.write_text(LOG)
    state.take({"event": "job_error", "jobid": 1})
    assert state.warnings == ["prepare_images: left out: a.png: cannot be read"]
    assert error_of(log) == "scans: holds no images"
    assert [job.name for job in state.failed] == ["prepare_images"]


def test_a_log_without_an_error_ends_with_its_last_line(tmp_path):
    log = tmp_path / "rule.log"
    assert error_of(log) == "the job ended without a message"
    log.write_text("2026-11-26 11:48:32,123 INFO reading\n")
    assert error_of(log).endswith("INFO reading")


def test_half_a_line_waits_for_its_other_half(tmp_path):
    file = tmp_path / "events"
    lines = Lines(file)
    assert lines.new() == []
    file.write_text("a\nb")
    assert lines.new() == ["a"]
    file.write_text("a\nbc\n")
    assert lines.new() == ["bc"] and lines.new() == []
    assert warnings_of(["nothing of interest"]) == []


def test_progress_that_is_being_written_is_none(tmp_path):
    (tmp_path / "a.progress").write_text('{"label": "epo')
    assert progress_of(tmp_path / "a.log") is None


def test_plain_lines_say_when_stages_begin_and_end(tmp_path):
    said = io.StringIO()
    state = planned(tmp_path, encode_images=1, train_image_vae=1)
    display = screen.screen(Console(file=said))
    assert isinstance(display, screen.Plain)
    display.show(state)
    started(state, 1, "encode_images", tmp_path / "a.log")
    display.show(state)
    started(state, 2, "train_image_vae", tmp_path / "b.log")
    for number in (1, 2):
        state.take({"event": "job_finished", "job_id": number})
    state.warnings.append("fit_population: did not converge [at all]")
    display.show(state)
    display.show(state)
    assert [line[9:] for line in said.getvalue().splitlines()] == [
        "Image VAE: 2 jobs",
        "warning: fit_population: did not converge [at all]",
        "Image VAE: done",
    ]


@pytest.mark.parametrize(("seconds", "words"), [(45.0, "45 s"), (719.0, "12 min"), (12_000.0, "3 h 20 min")])
def test_durations_in_words(seconds, words):
    assert screen.duration(seconds) == words


def command(*arguments):
    return [sys.executable, "-m", "covary.cli", "run", "tiny", "--cores", "2", *arguments]


def test_the_error_is_last_on_the_screen_with_the_names_of_the_logs(project):
    (project.folder / "scans").mkdir()
    project.edited("tiny.yaml", images={"source": "folder", "folder": "scans", "phantom": ...})
    run = subprocess.run(
        command("results/tiny/images/index.parquet"),
        cwd=project.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    error, its_log, full_log = run.stdout.splitlines()[-3:]
    assert error.startswith("error: prepare_images: ") and "scans" in error
    assert its_log == "  its log: results/tiny/logs/prepare_images.log"
    assert full_log == "  Snakemake's log: .snakemake/log/tiny.log"
    assert (project.folder / full_log.split(": ")[1]).read_text().count("Error in rule prepare_images") == 1
    assert "Traceback" not in run.stdout + run.stderr


def test_a_fault_of_the_configuration_is_one_line(project):
    project.edited("tiny.yaml", vae={"epoch": 3})
    run = subprocess.run(command(), cwd=project.folder, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == "error: vae.epoch: unknown key; did you mean `epochs`?\n"


def test_a_dry_run_does_not_say_that_it_finished(project):
    run = subprocess.run(
        command("--dry-run"), cwd=project.folder, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0
    assert run.stdout.splitlines()[-1] == "this was a dry run: nothing was done"


@pytest.mark.parametrize(
    "options",
    [
        ["--executor", "slurm"],
        ["--executor=slurm"],
        ["-e", "slurm"],
        ["--profile", "mine"],
        ["--keep-going", "--workflow-profile=workflow/profiles/slurm"],
    ],
)
def test_who_says_what_runs_the_jobs_gets_no_other_executor(options):
    assert executor(options) == ()


@pytest.mark.parametrize(
    "options", [[], ["--keep-going"], ["results/tiny/profile", "--forcerun", "evaluate"]]
)
def test_jobs_are_forks_unless_an_option_says_otherwise(options):
    assert executor(options) == ("--executor", "covary")


@pytest.mark.parametrize(
    ("target", "started"),
    [
        ("resources/phantom/tiny/factors.parquet", "draw_phantoms.log"),
        ("results/tiny/vae/weights.safetensors", "train_image_vae.progress"),  # threads of PyTorch run
    ],
)
def test_ctrl_c_ends_within_five_seconds_without_a_traceback(project, target, started):
    started = project.results / "logs" / started
    run, terminal = pty.fork()
    if run == 0:
        os.chdir(project.folder)
        os.execv(sys.executable, command(target))
    said, interrupted_s = b"", None
    while True:
        if interrupted_s is None and started.exists():
            os.write(terminal, b"\x03")
            interrupted_s = time.monotonic()
        if select.select([terminal], [], [], 0.05)[0]:
            try:
                said += os.read(terminal, 65536)
            except OSError:  # the end, on Linux
                break
    _, status = os.waitpid(run, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGINT
    assert time.monotonic() - interrupted_s < 5
    text = said.decode()
    assert "stopped; what is finished counts" in text.splitlines()[-1] and "Traceback" not in text
    assert not list(project.results.rglob("*.progress"))
    full_log = (project.folder / ".snakemake/log/tiny.log").read_text()
    assert "Segmentation fault" not in full_log and "signal 11" not in full_log


def test_what_nohup_ignores_stays_ignored():
    from covary.console.run import _interruptible

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt), _interruptible():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_experiment_runs_in_the_same_checkout_at_the_same_time(project):
    project.edited("second.yaml", experiment="second")
    target = "resources/phantom/{}/factors.parquet"
    both = [
        subprocess.Popen(
            [*command()[:4], name, "--cores", "1", target.format(name)],
            cwd=project.folder, stdout=subprocess.PIPE, text=True,
        )
        for name in ("tiny", "second")
    ]  # fmt: skip
    for run in both:
        said, _ = run.communicate()
        assert run.returncode == 0, said
    assert all((project.folder / target.format(name)).exists() for name in ("tiny", "second"))
