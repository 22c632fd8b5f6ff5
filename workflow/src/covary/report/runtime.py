"""Time and memory of every stage, from the benchmark files that Snakemake writes."""

from pathlib import Path

import pandas as pd

from covary.errors import UserError


def read_benchmarks(folder: Path) -> pd.DataFrame:
    """One row per stage, the most expensive first: stage, jobs, total_s, longest_s, cpu_s, max_rss_mb.

    The stage is the first part of a file's path below the folder. The jobs of one rule, in files
    `<rule>/<wildcards>.tsv`, are therefore added up. Values that Snakemake could not measure in a short job
    are missing. Raises UserError, naming the file, if one is not a benchmark file or the folder holds none.
    """
    jobs = []
    for path in sorted(folder.rglob("*.tsv")):
        table = pd.read_csv(path, sep="\t", na_values=["-"])
        missing = {"s", "max_rss", "cpu_time"} - set(table.columns)
        if missing:
            raise UserError(f"{path}: expected a Snakemake benchmark file, column {min(missing)} is missing")
        stage = path.relative_to(folder).with_suffix("").parts[0]
        jobs.append(table[["s", "max_rss", "cpu_time"]].astype(float).assign(stage=stage))
    if not jobs:
        raise UserError(f"{folder}: expected benchmark files *.tsv, found none")
    stages = pd.concat(jobs).groupby("stage", as_index=False)
    table = stages.agg(
        jobs=("s", "size"),
        total_s=("s", "sum"),
        longest_s=("s", "max"),
        cpu_s=("cpu_time", lambda seconds: seconds.sum(min_count=1)),
        max_rss_mb=("max_rss", "max"),
    )
    return table.sort_values(["total_s", "stage"], ascending=[False, True], ignore_index=True)
