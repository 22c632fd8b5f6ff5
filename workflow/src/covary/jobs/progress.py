"""Progress of a job: a bar on a terminal, and a small file beside the job's log that `covary run` reads."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

_TERMINAL_S, _FILE_S = 0.2, 30.0  # between two states of the bar
_REPORT_S = 1.0  # between two states of the small file
_report: Path | None = None


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Keep the file `path` up to date while the bars of this process move; remove it in the end."""
    global _report
    _report = path
    try:
        yield
    finally:
        _report = None
        path.unlink(missing_ok=True)


def progress(total: int, done: int, label: str, *, hidden: bool = False) -> tqdm:
    """A progress bar that starts at `done`; in a log file it writes at most two lines per minute."""
    return _Bar(
        disable=hidden,
        total=total,
        initial=done,
        desc=label,
        file=sys.stderr,
        mininterval=_TERMINAL_S if sys.stderr.isatty() else _FILE_S,
        dynamic_ncols=True,
    )


class _Bar(tqdm):
    """Reports what it shows."""

    _reported_s = 0.0

    def update(self, n: float | int | None = 1) -> bool | None:
        shown = super().update(n)
        now = time.monotonic()
        if _report is not None and not self.disable and now - self._reported_s >= _REPORT_S:
            self._reported_s = now
            # Written in place, and at once: readers leave out what is not whole.
            _report.write_text(
                json.dumps({"label": self.desc, "done": self.n, "total": self.total}), encoding="utf-8"
            )
        return shown
