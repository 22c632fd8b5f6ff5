"""Progress bars of long jobs."""

import sys

from tqdm import tqdm


def progress(total: int, done: int, label: str, *, hidden: bool = False) -> tqdm:
    """A progress bar that starts at `done`; in a log file it writes at most two lines per minute."""
    return tqdm(
        disable=hidden,
        total=total,
        initial=done,
        desc=label,
        file=sys.stderr,
        mininterval=0.2 if sys.stderr.isatty() else 30,
        dynamic_ncols=True,
    )
