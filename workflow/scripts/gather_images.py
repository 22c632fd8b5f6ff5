"""Check that every subject has its image."""

from pathlib import Path

from covary import store
from covary.jobs.run import run


def gather_images(dataset: Path, shards: list[Path], marker: Path, n_subjects: int) -> None:
    """Check every shard, let the images end after the last subject, and write one marker for all."""
    store.validate_images(dataset, n_subjects, shards, marker)


if __name__ == "__main__":
    run(gather_images)
