"""NONMEM tables, one for each noise level, with the path of each subject's image."""

import csv
from pathlib import Path

from covary import nlme
from covary.dataset import names
from covary.dataset.subjects import SPLITS
from covary.export.source import Source
from covary.records.study import Study

_README = """# NONMEM tables

One table for each noise variance σ² of the link between image and record. ID is the subject's number in the
dataset plus 1; TIME is in {unit}. IMAGE, the path of the subject's image, is text, which NONMEM must drop:

    $INPUT ID TIME AMT RATE EVID CMT DV MDV IMAGE=DROP
    $DATA {first}.csv IGNORE=@
"""


def write_nonmem_tables(source: Source, target: Path) -> None:
    """Write `noise_<v>.csv`, the images that the column IMAGE names, and `README.md`.

    The ID of a subject is its number in the dataset plus 1.
    """
    splits = source.tree["subjects/split"].values
    source.write_images(target)
    study = Study.of(source.dataset, source.settings.longitudinal.model)
    unit = nlme.load_model(source.settings.longitudinal.model).time_unit
    for scenario in source.scenarios:
        observation = source.tree[names.records(scenario.name)]["observation"].values
        records = study.records(observation, slice(None))
        numbers = target / f".{scenario.name}.csv"
        nlme.write_nonmem(numbers, records)
        with (
            numbers.open(newline="", encoding="utf-8") as rows,
            (target / f"{scenario.name}.csv").open("w", newline="", encoding="utf-8") as file,
        ):
            reader, writer = csv.reader(rows), csv.writer(file, lineterminator="\n")
            writer.writerow([*next(reader), "IMAGE"])
            for row in reader:
                subject = int(row[0])
                path = source.image_path(SPLITS[splits[subject]], subject)
                writer.writerow([subject + 1, *row[1:], path])
        numbers.unlink()
    (target / "README.md").write_text(
        _README.format(first=source.scenarios[0].name, unit=unit), encoding="utf-8"
    )
