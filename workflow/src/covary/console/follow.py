"""Read what is being written: the events of Snakemake, the logs of jobs, the progress of a job."""

import json
import re
from pathlib import Path
from typing import Any

_RECORD = re.compile(r"^\S+ \S+ (WARNING|ERROR) (.*)")
_OF_A_LIBRARY = re.compile(r"\.py:\d+: \w*Warning: ")  # as `warnings` words them; they stay in the log


class Lines:
    """The lines that a file has got since the last look. A file that is not there yet has none."""

    def __init__(self, path: Path):
        self._path, self._offset = path, 0

    def new(self) -> list[str]:
        """The lines that were finished since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode(errors="replace").splitlines()


def warnings_of(lines: list[str]) -> list[str]:
    """What a job warns of, without the warnings of libraries."""
    found = (_RECORD.match(line) for line in lines)
    return [m[2] for m in found if m and m[1] == "WARNING" and not _OF_A_LIBRARY.search(m[2])]


def error_of(log: Path) -> str:
    """The error that ended a job, in one line; of a job that could not say one, the last line of its log."""
    lines = Lines(log).new()
    errors = [m[2] for m in map(_RECORD.match, lines) if m and m[1] == "ERROR"]
    said = errors or [line for line in lines if line.strip()] or ["the job ended without a message"]
    return said[-1].removeprefix("error: ")


def progress_of(log: Path) -> tuple[float, float] | None:
    """How much of a running job is done, and of how much: (3, 12) epochs. None if it does not say."""
    try:
        state: dict[str, Any] = json.loads(log.with_suffix(".progress").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # not there, or being written
        return None
    return (float(state["done"]), float(state["total"])) if state["total"] else None
