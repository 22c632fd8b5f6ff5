"""Record how the results came about."""

import json
from pathlib import Path

from covary.config.reading import check
from covary.jobs.job import job
from covary.publication import provenance
from covary.report.runtime import read_benchmarks

with job(snakemake.log[0]):
    record = provenance.record(
        check(snakemake.params.config),
        manifest=Path(snakemake.input.manifest),
        environment_lock=Path(snakemake.input.environment_lock[0]),
        stages=read_benchmarks(Path(snakemake.params.benchmarks)),
    )
    Path(snakemake.output.provenance).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
