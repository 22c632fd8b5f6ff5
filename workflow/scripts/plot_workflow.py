"""The full configuration of the run, and the graph of its stages as Snakemake sees it."""

import subprocess
import sys
from pathlib import Path

import yaml

from covary import figures
from covary.jobs.job import job

with job(snakemake.log[0]):
    config = Path(snakemake.output.config)
    config.write_text(yaml.safe_dump(snakemake.params.config, sort_keys=False, allow_unicode=True))
    listing = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", snakemake.params.snakefile),
            *("--configfile", str(config), "--cores", "1", "--rulegraph", "dot", "--quiet"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        raise ValueError(f"snakemake --rulegraph failed: {listing.stderr.strip()}")
    stages = figures.parse_rulegraph(listing.stdout)
    figures.save(figures.workflow_dag(stages), Path(snakemake.output.workflow_dag))
