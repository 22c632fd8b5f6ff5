"""Snakemake's own executor for one machine, with jobs that need not import libraries: `--executor covary`.

Imports take 2 to 8 s per job, a quarter of the time of the demo. Here each script runs in a copy (fork) of
one process that has imported the libraries and has done nothing else. Jobs that need software of their own
(conda, a container) run as `--executor local` runs them.

Snakemake finds an executor plugin by the name of its package; this one has no other purpose.
"""

from contextlib import ExitStack
from pathlib import Path

from snakemake.benchmark import BenchmarkRecord, benchmarked, write_benchmark_records
from snakemake.executors import local
from snakemake.iocontainers import Snakemake
from snakemake_interface_common.exceptions import WorkflowError

from covary.jobs.forked import Server

# Snakemake measures twice per second at first, for about as many seconds as this. To read the memory
# of a process that has loaded PyTorch takes 30 ms, in which the process waits.
_MEASURED_EVERY_S = 4

common_settings = local.common_settings


class Executor(local.Executor):
    """Starts scripts from a server of forks, and everything else as the executor `local` does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._server = Server()

    def run_single_job(self, job):
        """Start a job; return its future."""
        deployment = self.workflow.deployment_settings.deployment_method
        if deployment or job.is_shadow or not str(job.rule.script or "").endswith(".py"):
            return super().run_single_job(job)
        self.workflow.async_run(job.prepare())
        return self.pool.submit(self.cached_or_run, job, self._run_script, job)

    def _run_script(self, job) -> None:
        folder = Path(job.rule.basedir.get_path_or_uri(secret_free=True))
        of_job = Snakemake(
            job.input._plainstrings(),
            job.output._plainstrings(),
            job.params,
            job.wildcards,
            job.threads,
            job.resources,
            job.log._plainstrings(),
            {},  # no script reads the configuration: it would rerun for keys that it does not use
            job.rule.name,
            None,
            str(folder),
        )
        process = self._server.start(
            folder / job.rule.script, of_job, job.threads, job.resources.get("tmpdir")
        )
        record = BenchmarkRecord(
            job.jobid, job.rule.name, job.wildcards, job.params,
            resources=job.resources, threads=job.threads, input=job.input,
        )  # fmt: skip
        with ExitStack() as stack:
            if job.benchmark:
                stack.enter_context(benchmarked(process.pid, record, _MEASURED_EVERY_S))
            process.join()
        if process.exitcode:
            how = f"signal {-process.exitcode}" if process.exitcode < 0 else f"exit status {process.exitcode}"
            raise WorkflowError(f"{job.rule.script} ended with {how}")
        if job.benchmark:
            extended = self.workflow.output_settings.benchmark_extended
            write_benchmark_records([record], str(job.benchmark), extended)
