"""Snakemake's own executor for one machine, with jobs that need not import libraries: `--executor covary`.

Imports take 2 to 8 s per job, a quarter of the time of the demo. Here each script runs in a copy (fork) of
one process that has imported the libraries and has done nothing else, or where the same script ran before:
JAX then need not trace and load the same programs again. Jobs that need software of their own
(conda, a container), and those that start before the libraries are there, run as `--executor local` runs
them.

Snakemake finds an executor plugin by the name of its package; this one has no other purpose.
"""

import time
from pathlib import Path

from snakemake.benchmark import BenchmarkRecord, write_benchmark_records
from snakemake.executors import local
from snakemake.iocontainers import Snakemake
from snakemake_interface_common.exceptions import WorkflowError

from covary.jobs.forked import Server, Usage

common_settings = local.common_settings


class Executor(local.Executor):
    """Starts scripts from a server of forks, and everything else as the executor `local` does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._server = Server()

    def shutdown(self) -> None:
        """End, and let the forks end that wait for another script."""
        super().shutdown()
        self._server.close()

    def run_single_job(self, job):
        """Start a job; return its future."""
        deployment = self.workflow.deployment_settings.deployment_method
        is_script = str(job.rule.script or "").endswith(".py")
        if deployment or job.is_shadow or not is_script or not self._server.ready.is_set():
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
        started_s = time.monotonic()
        script = folder / job.rule.script
        fork = self._server.start(script, of_job, job.threads, job.resources.get("tmpdir"))
        status, used = fork.wait()
        if status:
            how = f"signal {-status}" if status < 0 else f"exit status {status}"
            raise WorkflowError(f"{job.rule.script} ended with {how}")
        if job.benchmark:
            self._write_benchmark(job, time.monotonic() - started_s, used)

    def _write_benchmark(self, job, took_s: float, used: Usage | None) -> None:
        """Write what the kernel counted, in Snakemake's format.

        Snakemake itself looks at a process from outside, again and again. That takes 30 ms each time, once
        the process has loaded PyTorch, and misses threads and processes that end in between.
        """
        record = BenchmarkRecord(
            job.jobid, job.rule.name, job.wildcards, job.params, took_s,
            resources=job.resources, threads=job.threads, input=job.input,
        )  # fmt: skip
        record.process_gone = True  # nothing was measured, and that is no fault
        if used is not None:
            record.data_collected = True
            record.cpu_time, record.max_rss = used.cpu_s, used.max_rss_mb
            record.cpu_usage = 100 * used.cpu_s  # in per cent of one core times seconds
        extended = self.workflow.output_settings.benchmark_extended
        write_benchmark_records([record], str(job.benchmark), extended)
