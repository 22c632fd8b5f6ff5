"""Run scripts in forks of one process that has imported the libraries, so that no script waits for them."""

import multiprocessing
import os
import resource
import runpy
import sys
import tempfile
import threading
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
_OF_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Usage(NamedTuple):
    """What a script used, as the kernel counted it."""

    cpu_s: float  # of the script and of the processes that it started and waited for
    max_rss_mb: float  # of the largest of these processes, in MiB


# `multiprocessing` asks every process for its status when it starts another. Of two threads that ask at once,
# one reads the status and the other one an end of file, which stands as status 255 then.
_ASKING = threading.Lock()


class Fork:
    """A script that runs in a process of its own."""

    def __init__(self, process: BaseProcess, used: Connection) -> None:
        self.process, self._used = process, used

    def wait(self) -> tuple[int, Usage | None]:
        """Wait for the end; return the exit status of the script and what it used.

        The status is minus the signal that ended it. What it used is None where it did not end by itself.
        """
        connection.wait([self.process.sentinel])
        with _ASKING:
            self.process.join()
        status, known = self.process.exitcode, self._used.poll()
        assert status is not None  # it has ended
        try:
            return status, self._used.recv() if known else None
        except EOFError:
            return status, None
        finally:
            self._used.close()


class Server:
    """The process that forks. It starts at once, imports for some seconds, and ends with this process.

    `ready` is set when it has imported. A script that starts earlier waits until then.
    """

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(_IMPORTED))
        self.ready = threading.Event()
        forkserver.ensure_running()
        threading.Thread(target=self._wait, daemon=True).start()

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
        used, tell = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_run, args=(str(script), snakemake, threads, temporary, tell))
        with _ASKING:
            process.start()
        tell.close()  # the script has its own
        return Fork(process, used)


def _nothing() -> None: ...


def _run(script: str, snakemake: Any, threads: int, temporary: str | None, tell: Connection) -> None:
    from threadpoolctl import threadpool_limits

    os.environ |= dict.fromkeys(_OF_THREADS, str(threads))
    threadpool_limits(threads)  # of the libraries that are loaded; those to come read the environment
    if temporary:
        os.environ |= dict.fromkeys(("TMPDIR", "TMP", "TEMP"), temporary)
        tempfile.tempdir = None
    sys.argv = [script]
    try:
        runpy.run_path(script, init_globals={"snakemake": snakemake}, run_name="__main__")
    finally:
        tell.send(_usage())


def _usage() -> Usage:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Usage(
        sum(each.ru_utime + each.ru_stime for each in both),
        max(each.ru_maxrss for each in both) / _KIB_PER_MIB,
    )
