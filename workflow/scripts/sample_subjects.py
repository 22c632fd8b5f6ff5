"""Draw z for every subject and read the random effects off it."""

from pathlib import Path

from covary import store
from covary.config.dataset import Subjects
from covary.config.sites import Sites
from covary.dataset import names
from covary.dataset.latents import Latents
from covary.dataset.subjects import sample
from covary.jobs.run import run


def sample_subjects(
    dataset: Path, latents: Path, marker: Path, settings: Subjects, sites: Sites | None, seed: int, code: str
) -> None:
    """Write the group `subjects` of the dataset."""
    sampled = sample(Latents.read(latents), settings, sites, seed=seed)
    store.write_group(dataset, names.SUBJECTS, sampled, marker, {"seed": seed, "code": code})


if __name__ == "__main__":
    run(sample_subjects)
