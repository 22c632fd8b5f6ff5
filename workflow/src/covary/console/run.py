"""Run an experiment: start Snakemake, show what it does, stop it when asked to, say how it ended."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console

from covary.config import reading
from covary.console.follow import Lines, error_of
from covary.console.run_state import RunState
from covary.console.screen import duration, screen
from covary.console.stages import Stages
from covary.jobs import lock

_PROFILE = Path("workflow/profiles/default")
_ELSEWHERE = {"--executor", "-e", "--profile", "--workflow-profile"}  # options that say what runs the jobs
_DRY = {"-n", "--dry-run", "--dryrun"}
_LOOK_S = 0.25  # between two looks at the events
_ENDED_S = 0.05  # between two looks whether they have ended
_GRACE_S = 3.0  # for Snakemake and its jobs to end by themselves when they are interrupted
_SHOWN_LINES = 15  # of Snakemake's log, where the run ends before its first job


def run(experiment: str, seed: int | None, cores: str, options: Sequence[str], console: Console) -> int:
    """Run `config/<experiment>.yaml` in this folder, with further options of Snakemake.

    With `seed` the results have a folder of their own. Snakemake's full log goes to `.snakemake/log/`.
    Returns the exit status. Raises UserError if the configuration does not exist or is faulty, or if a run of
    the experiment is going on.
    """
    files = reading.files_of(experiment)
    given = {} if seed is None else {"seed": seed}
    name = reading.with_command_line(reading.read(*files), given).experiment
    lock.check_no_run(Path.cwd(), name)
    for left_behind in lock.stale(Path.cwd()):
        left_behind.unlink()
    results, log = Path("results") / name, Path(".snakemake/log") / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    events = log.with_suffix(".events")
    command = [
        *(sys.executable, "-m", "snakemake", "--cores", cores, "--workflow-profile", str(_PROFILE)),
        *("--quiet", "host", "--logger", "covary", "--logger-covary-events", str(events)),
        *executor(options), *options,
        *("--configfile", *map(str, files)),
        *(["--config"] if given else []), *(f"{key}={value}" for key, value in given.items()),
    ]  # fmt: skip
    state, started_s = RunState(Stages(Path("Snakefile")), results), time.monotonic()
    try:
        with log.open("wb") as output, _interruptible(), _started(command, output) as snakemake:
            _follow(snakemake, Lines(events), state, console)
    except KeyboardInterrupt:
        for unfinished in (results / "logs").rglob("*.progress"):  # of jobs that had to be killed
            unfinished.unlink(missing_ok=True)
        console.print("stopped; what is finished counts, and the same command goes on from there")
        return 128 + signal.SIGINT
    finally:
        events.unlink(missing_ok=True)
    if snakemake.returncode:
        _explain(state, log, console)
        return 1
    if _DRY.intersection(options):
        console.print("this was a dry run: nothing was done", highlight=False)
        return 0
    took = f" in {duration(time.monotonic() - started_s)}" if state.planned else "; nothing was to be done"
    console.print(f"finished{took}", highlight=False)
    if (report := results / "report.html").is_file():
        console.print(f"Report: {report.resolve()}", highlight=False, soft_wrap=True)
    return 0


def executor(options: Sequence[str]) -> tuple[str, ...]:
    """The options that choose Covary's own executor; none if the user's `options` say what runs the jobs."""
    elsewhere = _ELSEWHERE.intersection(option.partition("=")[0] for option in options)
    return () if elsewhere else ("--executor", "covary")


def _follow(snakemake: subprocess.Popen, events: Lines, state: RunState, console: Console) -> None:
    display = screen(console)
    try:
        ended = False
        while not ended:
            ended = snakemake.poll() is not None  # before the last look, so that nothing is missed
            for line in events.new():
                state.take(json.loads(line))
            state.look()
            display.show(state)
            if not ended:
                time.sleep(_LOOK_S)
    finally:
        display.close()


def _explain(state: RunState, log: Path, console: Console) -> None:
    """The error, last on the screen, with the name of the log that has more."""
    for job in state.failed:
        console.print(f"error: {job.name}: {error_of(job.log)}", style="red", markup=False, soft_wrap=True)
        console.print(f"  its log: {job.log}", markup=False, highlight=False, soft_wrap=True)
    if not state.failed:
        said = Lines(log).new()
        faults = [line for line in said if line.startswith("config: ")] or state.errors
        for line in faults or said[-_SHOWN_LINES:]:
            console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    console.print(f"  Snakemake's log: {log}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _started(command: list[str], output) -> Iterator[subprocess.Popen]:
    """Snakemake at the head of a process group of its own, so that it can be ended with all its jobs."""
    environment = os.environ | {"PYTHONUTF8": "1"}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen) -> None:
    """Interrupt what still runs, wait a moment, kill the rest: the next run goes on with killed jobs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        deadline_s = time.monotonic() + _GRACE_S
        while _alive(process) and time.monotonic() < deadline_s:
            time.sleep(_ENDED_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _alive(process: subprocess.Popen) -> bool:
    """Whether any process of the group is there; Snakemake can end before its jobs do."""
    process.poll()  # one that has ended stays in its group until its parent has asked
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP do what ctrl-C does; a second signal does not disturb the end.

    Signals that are ignored, as SIGHUP under `nohup`, stay so.
    """
    every = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {each: signal.getsignal(each) for each in every if signal.getsignal(each) != signal.SIG_IGN}

    def interrupt(*_):
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in before:
        signal.signal(each, interrupt)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
