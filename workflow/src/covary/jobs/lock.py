"""Locks that the kernel drops when their holder dies, so that a killed run leaves none behind."""

import errno
import fcntl
import logging
import os
import socket
from pathlib import Path
from typing import TextIO

from covary.errors import UserError

log = logging.getLogger(__name__)

_WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_RUN = "covary-"
_held: dict[Path, TextIO] = {}


def take(path: Path) -> bool:
    """Hold the lock `path` until this process ends; False if another process holds it.

    On a file system without locks nobody is kept out, with a warning.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
        log.warning("%s: this file system has no locks; two runs at once are not noticed", path)
    _held[path] = file
    file.truncate(0)
    file.write(f"{os.getpid()} {socket.gethostname()}")
    file.flush()
    return True


def release(path: Path) -> None:
    """Give back a lock, if this process holds it."""
    if path in _held:
        _held.pop(path).close()


def holder(path: Path) -> str:
    """Who holds, or last held, the lock: `process 123 on host`; empty if nobody ever did."""
    process, _, host = path.read_text(encoding="utf-8").partition(" ") if path.exists() else ("", "", "")
    return f"process {process} on {host}" if process else ""


def hold_run(folder: Path, experiment: str) -> None:
    """Keep other runs of an experiment out of a folder while this process lives.

    Raises UserError if there is one.
    """
    if not take(_run_lock(folder, experiment)):
        raise _already_running(folder, experiment)


def check_no_run(folder: Path, experiment: str) -> None:
    """Raise UserError if a run of this experiment is going on in a folder."""
    if _run_lock(folder, experiment).exists() and not _free(_run_lock(folder, experiment)):
        raise _already_running(folder, experiment)


def stale(folder: Path) -> list[Path]:
    """The locks of Snakemake, which outlive a killed run, that belong to no run that may be going on.

    A run of another machine may be going on: its lock cannot be seen from here on every file system.
    """
    live = _live(folder)
    left_behind = []
    for file in sorted((folder / ".snakemake" / "locks").glob("*.lock")):
        locked = {Path(line).parts for line in file.read_text(encoding="utf-8").splitlines()}
        experiments = {parts[1] for parts in locked if parts[:1] == ("results",) and len(parts) > 2}
        if not live or (experiments and not experiments & live.keys()):
            left_behind.append(file)
    return left_behind


def clear_stale(folder: Path) -> bool:
    """Remove the locks that killed runs have left; return whether there was one.

    Raises UserError if locks remain, because a run is going on or was on another machine.
    """
    left_behind = stale(folder)
    for file in left_behind:
        file.unlink()
    if any((folder / ".snakemake" / "locks").glob("*.lock")):
        runs = ", ".join(f"{name}: {process}" for name, process in _live(folder).items())
        raise UserError(f"a run is going on in {folder} ({runs}); wait for it or end it. If it was on "
                         "another machine and has ended, unlock with `snakemake --unlock`")  # fmt: skip
    return bool(left_behind)


def _already_running(folder: Path, experiment: str) -> UserError:
    process = holder(_run_lock(folder, experiment))
    return UserError(
        f"another run of {experiment} is going on in {folder} ({process}); wait for it or end it"
    )


def _live(folder: Path) -> dict[str, str]:
    """The experiments of which a run may be going on, and which process that is."""
    found = {}
    for path in (folder / ".snakemake").glob(f"{_RUN}*.lock"):
        elsewhere = holder(path) and not holder(path).endswith(f" on {socket.gethostname()}")
        if elsewhere or not _free(path):
            found[path.stem.removeprefix(_RUN)] = holder(path)
    return found


def _free(path: Path) -> bool:
    """Whether no process holds a lock; who held it last stays written in it."""
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
    return True


def _run_lock(folder: Path, experiment: str) -> Path:
    return folder / ".snakemake" / f"{_RUN}{experiment}.lock"
