"""Write who is observed and dosed when, and the true parameters of the structural model."""

from pathlib import Path

from covary import store
from covary.config.records import Longitudinal
from covary.dataset import names
from covary.jobs.run import run
from covary.records.study import Study


def prepare_records(
    dataset: Path, marker: Path, longitudinal: Longitudinal, n_subjects: int, seed: int, code: str
) -> None:
    """Write the group `design` of the dataset."""
    study = Study.planned(longitudinal, n_subjects, seed)
    store.write_group(dataset, names.DESIGN, study.label(), marker, {"code": code})


if __name__ == "__main__":
    run(prepare_records)
