"""The full configuration of the run, and the graph of its stages as Snakemake sees it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from covary import figures
from covary.jobs.run import run


def plot_workflow(config: Path, workflow_dag: Path, settings: dict[str, Any], snakefile: str) -> None:
    """Write the configuration, ask Snakemake for the graph of rules that it gives, and draw it."""
    config.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8")
    listing = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", snakefile),
            *("--configfile", str(config), "--cores", "1", "--rulegraph", "dot", "--quiet"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        raise RuntimeError(f"snakemake --rulegraph failed: {listing.stderr.strip()}")
    figures.save(figures.workflow_dag(figures.parse_rulegraph(listing.stdout)), workflow_dag)


if __name__ == "__main__":
    run(plot_workflow)
