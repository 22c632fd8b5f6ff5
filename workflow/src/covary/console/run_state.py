"""What is known of a run from Snakemake's events and from the logs of its jobs."""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covary.console.follow import Lines, progress_of, warnings_of
from covary.console.stages import Stages, expected_seconds

_FIRST_ESTIMATE_S = 10.0  # no time left is told before; it would be a guess
_LEAST_SHARE = 0.1  # of a job must be done before it tells how long the whole takes


@dataclass
class Job:
    """A job that runs, and how much of it is done, of how much: (3, 12) epochs. None if it does not say."""

    rule: str
    name: str
    log: Path
    lines: Lines
    progress: tuple[float, float] | None = None
    started_s: float = field(default_factory=time.monotonic)

    @property
    def share(self) -> float:
        """Share of it that is done, as far as it says."""
        return self.progress[0] / self.progress[1] if self.progress else 0.0

    def shown_s(self) -> float:
        """How long the whole job takes, by what it has done so far; no less than it has taken."""
        elapsed = time.monotonic() - self.started_s
        return elapsed / self.share if self.share >= _LEAST_SHARE else elapsed


@dataclass
class Stage:
    """How far a stage is, in expected seconds of its jobs."""

    name: str
    done: float = 0.0
    total: float = 0.0
    n_done: int = 0
    n_total: int = 0

    @property
    def finished(self) -> bool:
        """Whether all its jobs are done."""
        return self.n_done == self.n_total


@dataclass
class RunState:
    """The jobs that are planned, run and failed; `results` is the folder of the experiment."""

    stages: Stages
    results: Path
    planned: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    running: dict[int, Job] = field(default_factory=dict)
    failed: list[Job] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    started_s: float = field(default_factory=time.monotonic)
    _seconds: dict[str, float] = field(default_factory=dict)
    _took_s: dict[str, list[float]] = field(default_factory=dict)

    def take(self, event: dict[str, Any]) -> None:
        """Follow one event."""
        match event["event"]:
            case "run_info":
                rules = {rule: n for rule, n in event["stats"].items() if self.stages.of(rule)}
                self.planned = Counter(rules)
                self._seconds = expected_seconds(rules, self.results / "benchmarks")
                self.started_s = time.monotonic()
            case "job_info" if event["log"]:
                log = Path(event["log"][0])
                name = " ".join([event["rule_name"], *event["wildcards"].values()])
                self.running[event["jobid"]] = Job(event["rule_name"], name, log, Lines(log))
            case "job_finished":
                if job := self._ended(event["job_id"]):
                    self.done[job.rule] += 1
                    self._took_s.setdefault(job.rule, []).append(time.monotonic() - job.started_s)
            case "job_error":
                if job := self._ended(event["jobid"]):
                    self.failed.append(job)
            case "error":
                self.errors.append(event["message"])

    def look(self) -> None:
        """Read what running jobs have said since the last look."""
        for job in self.running.values():
            self._read(job)

    def table(self) -> list[Stage]:
        """The stages that have jobs, in order."""
        table = {name: Stage(name) for name in self.stages.names}
        for rule, n in self.planned.items():
            stage = table[self.stages.of(rule)]
            stage.n_total += n
            stage.n_done += self.done[rule]
            stage.total += n * self._expected_s(rule)
            stage.done += self.done[rule] * self._expected_s(rule)
        for job in self.running.values():
            table[self.stages.of(job.rule)].done += self._expected_s(job.rule) * job.share
        return [stage for stage in table.values() if stage.n_total]

    def fraction(self) -> float:
        """Share of the run that is done."""
        table = self.table()
        total = sum(stage.total for stage in table)
        return sum(stage.done for stage in table) / total if total else 0.0

    def seconds_left(self) -> float | None:
        """How long the rest takes if it goes on as it went so far; None while this cannot be said."""
        elapsed, fraction = time.monotonic() - self.started_s, self.fraction()
        return elapsed * (1 / fraction - 1) if fraction and elapsed > _FIRST_ESTIMATE_S else None

    def _expected_s(self, rule: str) -> float:
        """How long one job of a rule takes: as it was expected, or longer if this run shows it."""
        shown = [job.shown_s() for job in self.running.values() if job.rule == rule]
        took = self._took_s.get(rule, [])
        return max([self._seconds[rule], *shown, sum(took) / len(took) if took else 0.0])

    def _ended(self, number: int) -> Job | None:
        job = self.running.pop(number, None)
        if job is not None:
            self._read(job)
        return job

    def _read(self, job: Job) -> None:
        job.progress = progress_of(job.log) or job.progress
        self.warnings += [f"{job.name}: {text}" for text in warnings_of(job.lines.new())]
