"""Record how the results came about."""

import json
from pathlib import Path

from covary.config.experiment import Config
from covary.jobs.run import run
from covary.publication import provenance
from covary.report.runtime import read_benchmarks


def write_provenance(
    manifest: Path, environment_lock: Path, benchmarks: Path, provenance_file: Path, config: Config
) -> None:
    """Write code, environment, machine, seed and costs as JSON."""
    record = provenance.record(
        config, manifest=manifest, environment_lock=environment_lock, stages=read_benchmarks(benchmarks)
    )
    provenance_file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(write_provenance)
