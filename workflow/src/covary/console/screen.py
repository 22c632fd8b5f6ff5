"""A run on the screen: a table that moves on a terminal, plain lines elsewhere."""

import time
from typing import Protocol, runtime_checkable

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from covary.console.run_state import RunState, Stage

_PLAIN_INTERVAL_S = 60.0  # between two plain lines that say how far the run is


@runtime_checkable
class Screen(Protocol):
    """Where a run is shown."""

    def show(self, state: RunState) -> None:
        """Show how far the run is, and what it has warned of since the last call."""

    def close(self) -> None:
        """End the display; what is printed then stays below it."""


def screen(console: Console) -> Screen:
    """The display that this console can have."""
    return Moving(console) if console.is_terminal else Plain(console)


class Moving:
    """Stages with bars, which jobs run, and the time left, redrawn in place."""

    def __init__(self, console: Console):
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=False)
        self._live.start()

    def show(self, state: RunState) -> None:
        """Redraw; warnings stay above."""
        for warning in _taken(state):
            self._console.print(f"[yellow]warning:[/] {escape(warning)}")
        self._live.update(_drawn(state))

    def close(self) -> None:
        """Leave the last state on the screen."""
        self._live.stop()


class Plain:
    """One line when a stage begins or ends, one per warning, and one per minute."""

    def __init__(self, console: Console):
        self._console = console
        self._begun: set[str] = set()
        self._finished: set[str] = set()
        self._told_s = time.monotonic()

    def show(self, state: RunState) -> None:
        """Print what is new."""
        for warning in _taken(state):
            self._say(f"warning: {warning}")
        running = {state.stages.of(job.rule) for job in state.running.values()}
        for stage in state.table():
            if stage.name not in self._begun and (stage.name in running or stage.n_done):
                self._begun.add(stage.name)
                self._say(f"{stage.name}: {_jobs(stage.n_total)}")
            if stage.finished and stage.name not in self._finished:
                self._finished.add(stage.name)
                self._say(f"{stage.name}: done")
        if time.monotonic() - self._told_s > _PLAIN_INTERVAL_S:
            self._told_s = time.monotonic()
            self._say(f"{_total(state)}: {', '.join(_running(state)) or 'waiting'}")

    def close(self) -> None:
        """Nothing is left to do."""

    def _say(self, text: str) -> None:
        self._console.print(
            f"{time.strftime('%H:%M:%S')} {text}", markup=False, highlight=False, soft_wrap=True
        )


def _taken(state: RunState) -> list[str]:
    """The warnings that were not shown yet."""
    new, state.warnings = state.warnings, []
    return new


def _drawn(state: RunState) -> Group:
    table = Table.grid(padding=(0, 2))
    for stage in state.table():
        table.add_row(stage.name, _bar(stage), f"{stage.n_done} of {_jobs(stage.n_total)}")
    now = [Text(f"  {line}", style="dim", overflow="ellipsis", no_wrap=True) for line in _running(state)]
    return Group(table, Text(_total(state), style="bold"), *now)


def _bar(stage: Stage) -> ProgressBar:
    return ProgressBar(total=stage.total, completed=stage.total if stage.finished else stage.done, width=30)


def _running(state: RunState) -> list[str]:
    """Each running job, with how much of it is done if it says so."""
    return [
        f"{job.name} {job.progress[0]:g} of {job.progress[1]:g}" if job.progress else job.name
        for job in state.running.values()
    ]


def _total(state: RunState) -> str:
    if not state.planned:
        return "planning"
    left = state.seconds_left()
    return f"{state.fraction():.0%} done" + ("" if left is None else f", about {duration(left)} left")


def _jobs(n: int) -> str:
    return "1 job" if n == 1 else f"{n} jobs"


def duration(seconds: float) -> str:
    """45 s, 12 min, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
