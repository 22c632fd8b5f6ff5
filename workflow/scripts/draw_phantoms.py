"""Draw OCT B-scans with known factors as JPEG files."""

from pathlib import Path

from covary.config.images import Phantom
from covary.jobs.run import run
from covary.phantom import write_dataset


def draw_phantoms(factors: Path, phantom: Phantom, seed: int, threads: int) -> None:
    """Draw the phantoms beside the table of their factors."""
    write_dataset(factors.parent, phantom, seed=seed, workers=threads)


if __name__ == "__main__":
    run(draw_phantoms)
