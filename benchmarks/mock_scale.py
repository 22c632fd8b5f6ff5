"""The whole workflow at the paper's 1.1 million subjects and five levels of noise, its images made up.

    python benchmarks/mock_scale.py [--cores 2] [--output FILE]

Runs Snakemake on benchmarks/mock_scale.yaml in this checkout, or goes on with a run that was stopped. Then
measures the dataset: files, bytes, the time it takes to open, and to read single subjects at random.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

RESULTS = Path("results/mock_scale")
LOOKUPS = 200


def main() -> None:
    """Run, measure, print, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    result = {"run_s": timed(arguments.cores), "run_again_s": timed(arguments.cores), **jobs(), **dataset()}
    for name, value in result.items():
        print(f"{name:24s} {value}")
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")


def timed(cores: int) -> float:
    """Wall seconds of one call of Snakemake."""
    start = time.perf_counter()
    subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--cores", str(cores)),
            *("--workflow-profile", "workflow/profiles/default"),
            *("--configfile", "config/config.yaml", "benchmarks/mock_scale.yaml"),
        ],
        check=True,
    )
    return time.perf_counter() - start


def jobs() -> dict:
    """The largest memory of a job, and the wall seconds of each rule's jobs added up."""
    tables = {file: pd.read_table(file).iloc[-1] for file in RESULTS.joinpath("benchmarks").rglob("*.tsv")}
    largest = max(tables, key=lambda file: tables[file]["max_rss"])
    seconds: dict[str, float] = {}
    for file, row in tables.items():
        rule = file.relative_to(RESULTS / "benchmarks").parts[0].removesuffix(".tsv")
        seconds[rule] = seconds.get(rule, 0.0) + float(row["s"])
    return {
        "jobs": len(tables),
        "peak_memory_mb": float(tables[largest]["max_rss"]),
        "peak_memory_of": str(largest.relative_to(RESULTS / "benchmarks")),
        "rule_s": dict(sorted(seconds.items(), key=lambda item: -item[1])),
    }


def dataset() -> dict:
    """Size of the store, and how fast it is opened and looked up in."""
    from covary import store

    path = RESULTS / "dataset.zarr"
    files = [file for file in path.rglob("*") if file.is_file()]
    start = time.perf_counter()
    tree = store.open(path)
    opened = time.perf_counter() - start
    subjects = np.random.default_rng(1).integers(0, tree["images"].sizes["subject"], LOOKUPS)
    start = time.perf_counter()
    for subject in subjects:
        tree["images/image"][int(subject)].load()
        tree["longitudinal/noise_1/observation"][int(subject)].load()
    looked_up = time.perf_counter() - start
    return {
        "files": len(files),
        "gigabytes": sum(file.stat().st_size for file in files) / 1e9,
        "open_s": opened,
        "lookup_ms": 1000 * looked_up / LOOKUPS,
    }


if __name__ == "__main__":
    main()
