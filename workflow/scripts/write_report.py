"""One self-contained page with everything a reader needs."""

import datetime
import json
from pathlib import Path

import pandas as pd

from covary import report
from covary.config.reading import check
from covary.jobs.job import job

with job(snakemake.log[0]):
    page = report.render(
        config=check(snakemake.params.config),
        channels=json.loads(Path(snakemake.input.images).read_text())["channels"],
        tables={Path(path).stem: pd.read_csv(path) for path in snakemake.input.tables},
        figures={Path(path).stem: Path(path) for path in snakemake.input.figures},
        captions=Path(snakemake.input.captions[0]).parent,
        benchmarks=Path(snakemake.params.benchmarks),
        date=datetime.datetime.now(tz=datetime.UTC).date(),
    )
    Path(snakemake.output.report).write_text(page, encoding="utf-8")
