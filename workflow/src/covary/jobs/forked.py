"""Run scripts in forks of one process that has imported the libraries, so that no script waits for them.

Noise levels run the same scripts. A fork that has run one keeps what JAX compiled for the next.
"""

import atexit
import ctypes
import gc
import multiprocessing
import os
import resource
import runpy
import sys
import tempfile
import threading
from collections.abc import Callable, Hashable
from multiprocessing import connection, forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

# What most scripts import. None of it starts a thread of PyTorch or JAX, draws a number or asks for a GPU.
_IMPORTED = (
    "torch._dynamo",  # the first step of an optimiser imports it
    "covary.nlme",
    "covary.vae",
    "covary.diffusion",
    "covary.predict",
    "covary.quality",
    "covary.evaluate",
    "covary.figures",
    "covary.report",
)
_KIB_PER_MIB = 1024 if sys.platform == "linux" else 1024**2  # macOS counts bytes
_WAITING = 4  # forks
_WAITING_MB = 1200.0  # of memory that they have for themselves, together
_MOST_SCRIPTS = 50  # in one fork: compiled programs take memory
_OF_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Usage(NamedTuple):
    """What a script used, as the kernel counted it."""

    cpu_s: float  # of the script and of the processes that it started and waited for
    max_rss_mb: float  # of the largest of these processes, in MiB, since it began


# `multiprocessing` asks every process for its status when it starts another. Of two threads that ask at once,
# one reads the status and the other one an end of file, which stands as status 255 then.
_ASKING = threading.Lock()


class _Worker:
    """A fork of the server that runs scripts, one after the other."""

    def __init__(self, process: BaseProcess, line: Connection) -> None:
        self.process, self.line, self.done, self.held_mb = process, line, 0, 0.0

    def close(self) -> None:
        """Let the process end, and take its status."""
        self.line.close()
        with _ASKING:
            self.process.join()


class Fork:
    """A script that runs in a process of the server."""

    def __init__(self, worker: _Worker, let_go: Callable[[_Worker], None]) -> None:
        self._worker, self._let_go = worker, let_go
        self.process = worker.process

    def wait(self) -> tuple[int, Usage | None]:
        """Wait for the end; return the exit status of the script and what it used.

        The status is minus the signal that ended it. What it used is None where it did not end by itself.
        """
        worker = self._worker
        connection.wait([worker.line, self.process.sentinel])
        used = None
        try:
            if worker.line.poll():
                used = worker.line.recv()
                if (held_mb := worker.line.recv()) is not None:
                    worker.held_mb = held_mb
                    self._let_go(worker)
                    return 0, used
        except EOFError:
            pass
        worker.close()
        status = self.process.exitcode
        assert status is not None  # it has ended
        return status, used


class Server:
    """The process that forks. It starts at once, imports for some seconds, and ends with this process.

    `ready` is set when it has imported. A script that starts earlier waits until then.

    A fork that has run a script runs the same script again, with what JAX has traced and compiled so far: for
    another noise level this is most of the time of some jobs. At most `_WAITING` forks wait for that, and
    hold at most `_WAITING_MB` of their own; those that have waited longest end first.
    """

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(_IMPORTED))
        self.ready = threading.Event()
        self._waiting: list[tuple[Hashable, _Worker]] = []  # the one that has waited longest is first
        self._changing = threading.Lock()
        forkserver.ensure_running()
        threading.Thread(target=self._wait, daemon=True).start()
        atexit.register(self.close)

    def _wait(self) -> None:
        """A fork that does nothing starts when the libraries are there."""
        probe = self._context.Process(target=_nothing)
        probe.start()
        with _ASKING:
            probe.join()
        self.ready.set()

    def start(self, script: Path, snakemake: Any, threads: int, temporary: str | None) -> Fork:
        """Run a script of Snakemake in a process of its own.

        `snakemake` is the object of that name which the script sees. Libraries use so many `threads`, and
        temporary files go to the folder `temporary`, as with Snakemake's own executor.
        """
        kind = str(script), threads, temporary
        worker = self._take(kind) or self._fork(kind)
        worker.done += 1
        worker.line.send(snakemake)

        def let_go(worker: _Worker) -> None:
            self._keep(kind, worker)

        return Fork(worker, let_go)

    def close(self) -> None:
        """Let the forks end that wait for a script."""
        with self._changing:
            waiting, self._waiting = self._waiting, []
        for _, worker in waiting:
            worker.close()

    def _fork(self, kind: tuple[str, int, str | None]) -> _Worker:
        here, there = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(*kind, there))
        with _ASKING:
            process.start()
        there.close()  # the fork has its own
        return _Worker(process, here)

    def _take(self, kind: Hashable) -> _Worker | None:
        with self._changing:
            for i, (other, worker) in enumerate(self._waiting):
                ended = connection.wait([worker.process.sentinel], timeout=0)  # killed while it waited
                if other == kind and not ended:
                    del self._waiting[i]
                    return worker
        return None

    def _keep(self, kind: Hashable, worker: _Worker) -> None:
        ending = []
        with self._changing:
            self._waiting.append((kind, worker))
            if worker.done >= _MOST_SCRIPTS:
                ending.append(self._waiting.pop())
            while len(self._waiting) > _WAITING or self._held_mb() > _WAITING_MB:
                ending.append(self._waiting.pop(0))
        for _, each in ending:
            each.close()

    def _held_mb(self) -> float:
        return sum((worker.held_mb for _, worker in self._waiting), 0.0)


def _nothing() -> None: ...


def _serve(script: str, threads: int, temporary: str | None, line: Connection) -> None:
    """Run a script for each object `snakemake` that comes along the line, until none will come.

    After each the line gets what the script used, and the MiB that the process holds while it waits for
    another, or None if it does not wait. A script that fails ends the process.
    """
    from threadpoolctl import threadpool_limits

    gc.freeze()  # no collection touches the libraries, whose memory would then no longer be the server's
    os.environ |= dict.fromkeys(_OF_THREADS, str(threads))
    threadpool_limits(threads)  # of the libraries that are loaded; those to come read the environment
    if temporary:
        os.environ |= dict.fromkeys(("TMPDIR", "TMP", "TEMP"), temporary)
        tempfile.tempdir = None
    sys.argv = [script]
    before_s, again = _usage().cpu_s, True
    while again:
        try:
            snakemake = line.recv()
        except (EOFError, KeyboardInterrupt):
            os._exit(0)
        try:
            runpy.run_path(script, init_globals={"snakemake": snakemake}, run_name="__main__")
        finally:
            now = _usage()
            line.send(now._replace(cpu_s=now.cpu_s - before_s))
            before_s = now.cpu_s
        _give_back_memory()
        again = not _has_gpu()
        line.send(_own_mb() if again else None)


def _give_back_memory() -> None:
    """Give what the script has freed back to the system: this process may wait for minutes."""
    gc.collect()
    if hasattr(c_library := ctypes.CDLL(None), "malloc_trim"):  # glibc
        c_library.malloc_trim(0)


def _own_mb() -> float:
    """Memory that this process does not share, in MiB; where that is unknown, the most it ever had."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return _usage().max_rss_mb
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def _has_gpu() -> bool:
    """Whether the script may have taken memory of a GPU, which it keeps until its process ends."""
    import torch

    return torch.cuda.is_available()


def _usage() -> Usage:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Usage(
        sum(each.ru_utime + each.ru_stime for each in both),
        max(each.ru_maxrss for each in both) / _KIB_PER_MIB,
    )
