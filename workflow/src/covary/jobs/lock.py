"""Locks that the kernel drops when their holder dies, so that a killed run leaves none behind."""

import errno
import fcntl
import logging
import os
import shutil
import socket
from pathlib import Path
from typing import TextIO

from covary.errors import UserError

log = logging.getLogger(__name__)

_WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
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


def hold_run(folder: Path) -> None:
    """Keep other runs out of a folder while this process lives. Raises UserError if there is one."""
    path = _run_lock(folder)
    if not take(path):
        raise UserError(f"another run is going on in {folder} ({holder(path)}); wait for it or end it")


def clear_stale(folder: Path) -> bool:
    """Remove Snakemake's own lock, which outlives a killed run; return whether there was one.

    Raises UserError if a run is going on, or if the run that was killed was on another machine.
    """
    left_behind, path = folder / ".snakemake" / "locks", _run_lock(folder)
    if not left_behind.is_dir() or not any(left_behind.iterdir()):
        return False
    before = holder(path)
    hold_run(folder)
    try:
        if before and not before.endswith(f" on {socket.gethostname()}"):
            raise UserError(f"the last run in {folder} was {before}; make sure that it has ended, then "
                             "unlock with `snakemake --unlock`")  # fmt: skip
        shutil.rmtree(left_behind)
    finally:
        release(path)
    return True


def _run_lock(folder: Path) -> Path:
    return folder / ".snakemake" / "covary.lock"
