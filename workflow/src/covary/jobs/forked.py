"""Run scripts in forks of one process that has imported the libraries, so that no script waits for them."""

import multiprocessing
import os
import runpy
import sys
import tempfile
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

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
_OF_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Server:
    """The process that forks. It starts at once, imports for some seconds, and ends with this process."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(_IMPORTED))
        forkserver.ensure_running()

    def start(self, script: Path, snakemake: Any, threads: int, temporary: str | None) -> BaseProcess:
        """Run a script of Snakemake in a process of its own; its exit status is that of the script.

        `snakemake` is the object of that name which the script sees. Libraries use so many `threads`, and
        temporary files go to the folder `temporary`, as with Snakemake's own executor.
        """
        process = self._context.Process(target=_run, args=(str(script), snakemake, threads, temporary))
        process.start()
        return process


def _run(script: str, snakemake: Any, threads: int, temporary: str | None) -> None:
    from threadpoolctl import threadpool_limits

    os.environ |= dict.fromkeys(_OF_THREADS, str(threads))
    threadpool_limits(threads)  # of the libraries that are loaded; those to come read the environment
    if temporary:
        os.environ |= dict.fromkeys(("TMPDIR", "TMP", "TEMP"), temporary)
        tempfile.tempdir = None
    sys.argv = [script]
    runpy.run_path(script, init_globals={"snakemake": snakemake}, run_name="__main__")
