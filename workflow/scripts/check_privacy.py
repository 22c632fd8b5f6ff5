"""Are generated images copies of training images?"""

from pathlib import Path

import numpy as np

from covary import figures, images, quality, store, vae
from covary.jobs.job import job
from covary.quality import privacy

N_PAIRS = 5

with job(snakemake.log[0]):
    params = snakemake.params
    prepared = images.load(Path(snakemake.input.index).parent)
    encoder = quality.encoder_features(vae.VAE.load(Path(snakemake.input.weights).parent))
    dataset = Path(snakemake.input.images).parents[1] / "dataset.zarr"
    train, held_out = prepared.generator_train, prepared.generator_test
    generated = store.read(dataset, "images")["image"][-params.images :].values
    spaces = {"encoder features": encoder.of, "pixels": quality.pixels}
    found = {
        name: privacy.Proximity.between(*(space(stack) for stack in (generated, train, held_out)))
        for name, space in spaces.items()
    }
    table = privacy.privacy_table(found, seed=params.seed, resamples=params.resamples)
    table.to_csv(snakemake.output.table, index=False)

    def closest(title: str, stack: np.ndarray, space: str, near: privacy.Neighbours):
        first = np.argsort(near.distance, kind="stable")[:N_PAIRS]
        shown = stack[first], train[near.index[first]]
        return figures.ClosestPairs(space, title, *shown, near.distance[first])

    left = [closest("Generated", generated, s, p.generated_to_train) for s, p in found.items()]
    right = [closest("Held out", held_out, s, p.held_out_to_train) for s, p in found.items()]
    figures.save(figures.closest_pairs(left, right), Path(snakemake.output.closest_pairs))
