"""Are generated images copies of training images, and does the generator give its training images away?"""

from pathlib import Path

import numpy as np
import pandas as pd

from covary import diffusion, images, quality, store
from covary.config.generator import Generator
from covary.dataset import names
from covary.diffusion.membership import attack_errors
from covary.jobs.run import run
from covary.quality import privacy


def check_privacy(
    index: Path,
    generator: Path,
    dataset: Path,
    table: Path,
    pairs: Path,
    settings: Generator,
    privacy_images: int,
    resamples: int,
    seed: int,
) -> None:
    """Write how well attacks do, distances to the nearest images, and the closest pairs."""
    prepared = images.load(index.parent)
    network = diffusion.ImageGenerator.load(generator)
    encoder = quality.encoder_features(network.vae)
    train, held_out = prepared.generator_train, prepared.generator_test
    generated = store.read(dataset, names.IMAGES)["image"][-privacy_images:].values
    spaces = {"encoder features": encoder.of, "pixels": quality.pixels}
    found = {
        name: privacy.Proximity.between(*(space(stack) for stack in (generated, train, held_out)))
        for name, space in spaces.items()
    }
    others = quality.spread(len(held_out), privacy_images)
    some = quality.spread(len(train), len(others))
    parts = (train[some], prepared.train[some]), (held_out[others], prepared.test[others])
    members, not_members = (attack_errors(network, settings, *part, seed) for part in parts)
    tables = [
        privacy.attack_table(
            members[name], not_members[name], seed=seed, resamples=resamples, compared_by=name
        )
        for name in members
    ]
    distances = privacy.privacy_table(found, seed=seed, resamples=resamples)
    pd.concat([*tables, distances]).to_csv(table, index=False)
    np.savez(pairs, **privacy.closest_pairs(found, {"generated": generated, "held_out": held_out}, train))


if __name__ == "__main__":
    run(check_privacy)
