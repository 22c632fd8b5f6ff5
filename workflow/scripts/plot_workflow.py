"""The full configuration of the run, and the graph of its stages as Snakemake sees it."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from covary import figures
from covary.jobs.run import run

# What jobs write: a file that one of them replaces while Snakemake looks at it would end this job.
_LIVE = ("results", ".snakemake", "resources/phantom", "resources/digits", "resources/downloads")


def plot_workflow(config: Path, workflow_dag: Path, settings: dict[str, Any], snakefile: str) -> None:
    """Write the configuration, ask Snakemake for the graph of rules that it gives, and draw it.

    Snakemake is asked in a folder with links to all but what other jobs may be writing.
    """
    config.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8")
    with tempfile.TemporaryDirectory() as apart:
        _link(Path.cwd(), Path(apart))
        listing = subprocess.run(
            [
                *(sys.executable, "-m", "snakemake", "--snakefile", snakefile, "--directory", apart),
                *("--configfile", str(config.resolve()), "--cores", "1", "--rulegraph", "dot", "--quiet"),
            ],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    if listing.returncode:
        raise RuntimeError(f"snakemake --rulegraph failed: {listing.stderr.strip()}")
    figures.save(figures.workflow_dag(figures.parse_rulegraph(listing.stdout)), workflow_dag)


def _link(here: Path, there: Path) -> None:
    """Link all that no job writes."""
    (there / "resources").mkdir()
    for entry in [*here.iterdir(), *(here / "resources").glob("*")]:
        name = entry.relative_to(here)
        if str(name) not in (*_LIVE, "resources"):
            (there / name).symlink_to(entry)


if __name__ == "__main__":
    run(plot_workflow)
