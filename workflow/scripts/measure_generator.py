"""Read-back, counterfactuals, distances, reconstructions and nearest training images of the generator."""

from pathlib import Path

import numpy as np
import pandas as pd

from covary import diffusion, images, quality, store
from covary.config.evaluation import Quality
from covary.config.generator import Sampling
from covary.dataset import names
from covary.dataset.latents import Latents
from covary.dataset.subjects import members
from covary.jobs.run import run

N_SHOWN = 8


def measure_generator(
    index: Path,
    encodings: Path,
    ranking: Path,
    latents: Path,
    generator: Path,
    dataset: Path,
    reader: list[Path],
    table: Path,
    factors: list[Path],
    counterfactuals: Path,
    neighbours: Path,
    random_effects: list[str],
    settings: Quality,
    sampling: Sampling,
    readback_draws: int,
    resamples: int,
    seed: int,
) -> None:
    """Write the tables, and the training images nearest to the first generated ones.

    `reader` and `factors`, one file each, are for scans only.
    """
    network = diffusion.ImageGenerator.load(generator)
    subjects = store.read(dataset, names.SUBJECTS)
    test = members(subjects, "test")
    generated = store.read(dataset, names.IMAGES)["image"][test][: settings.images].values
    prepared = images.load(index.parent)
    sets = quality.collect(prepared, np.load(encodings), generated, network, settings, sampling, seed)
    z, z_read = subjects["z"][test][: settings.images].values, quality.read_back(network.vae, generated)
    spaces = quality.feature_spaces(network.vae, settings.inception_file)
    for weights, known in zip(reader, factors, strict=True):
        reads = quality.load_reader(weights)
        spaces.insert(0, quality.reader_features(reads, weights.stem))
        quality.factor_table(reads, sets.generated, sets.real_train, sets.real_test).to_csv(
            known, index=False
        )
    ranked = pd.read_csv(ranking)
    measured = quality.generator_quality(
        sets, spaces, z, z_read, ranked, readback_draws, are_scans=bool(reader)
    )
    measured.to_csv(table, index=False)
    shifts = quality.counterfactuals(
        network,
        Latents.read(latents),
        random_effects,
        settings.counterfactuals,
        sampling,
        seed,
        resamples,
    )
    shifts.to_csv(counterfactuals, index=False)
    shown = generated[:N_SHOWN]
    numbers, mse = quality.nearest_by_pixels(shown, sets.real_train)
    np.savez(neighbours, generated=shown, nearest=sets.real_train[numbers], mse=mse)


if __name__ == "__main__":
    run(measure_generator)
