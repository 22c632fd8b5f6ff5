"""Are generated images copies of training images?"""

from pathlib import Path

import numpy as np

from covary import images, quality, store, vae
from covary.dataset import names
from covary.jobs.run import run
from covary.quality import privacy


def check_privacy(
    index: Path,
    weights: Path,
    dataset: Path,
    table: Path,
    pairs: Path,
    privacy_images: int,
    resamples: int,
    seed: int,
) -> None:
    """Write distances to the nearest training and held-out images, and the closest pairs."""
    prepared = images.load(index.parent)
    encoder = quality.encoder_features(vae.VAE.load(weights.parent))
    train, held_out = prepared.generator_train, prepared.generator_test
    generated = store.read(dataset, names.IMAGES)["image"][-privacy_images:].values
    spaces = {"encoder features": encoder.of, "pixels": quality.pixels}
    found = {
        name: privacy.Proximity.between(*(space(stack) for stack in (generated, train, held_out)))
        for name, space in spaces.items()
    }
    privacy.privacy_table(found, seed=seed, resamples=resamples).to_csv(table, index=False)
    np.savez(pairs, **privacy.closest_pairs(found, {"generated": generated, "held_out": held_out}, train))


if __name__ == "__main__":
    run(check_privacy)
