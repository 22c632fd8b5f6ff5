"""One self-contained page with everything a reader needs."""

import datetime
import json
from pathlib import Path

import pandas as pd

from covary import report
from covary.config.experiment import Config
from covary.jobs.run import run


def write_report(
    page: Path,
    tables: list[Path],
    figures: list[Path],
    captions: list[Path],
    index: Path,
    images: Path,
    benchmarks: Path,
    config: Config,
) -> None:
    """Render the report."""
    text = report.render(
        config=config,
        channels=json.loads(images.read_text(encoding="utf-8"))["channels"],
        index=pd.read_parquet(index),
        tables={path.stem: pd.read_csv(path) for path in tables},
        figures={path.stem: path for path in figures},
        captions=captions[0].parent,
        benchmarks=benchmarks,
        date=datetime.datetime.now(tz=datetime.UTC).date(),
    )
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run(write_report)
