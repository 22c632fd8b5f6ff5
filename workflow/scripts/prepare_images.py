"""Read, clean and resize the images."""

from pathlib import Path

from covary.config.images import Images
from covary.images import prepare
from covary.jobs.run import run


def prepare_images(folder: Path, index: Path, settings: Images, seed: int, threads: int, code: str) -> None:
    """Prepare all images of a folder beside their index."""
    checkpoints = index.parent / "checkpoints" / code
    prepare(folder, index.parent, settings, seed=seed, workers=threads, checkpoint_dir=checkpoints)


if __name__ == "__main__":
    run(prepare_images)
