"""Are generated images copies of training images?"""

from pathlib import Path

import numpy as np

from covary import evaluate, figures, images, store, vae
from covary.job import job

N_PAIRS = 5

with job(snakemake.log[0]):
    params = snakemake.params
    prepared = images.load(Path(snakemake.input.index).parent)
    model = vae.VAE.load(Path(snakemake.input.weights).parent)
    dataset = Path(snakemake.input.images).parents[1] / "dataset.zarr"
    # The last ones: test subjects, whose images no table of random effects depends on otherwise.
    generated = store.read(dataset, "images")["image"][-params.images :].values
    sets = {"generated": generated, "train": prepared.train, "held_out": prepared.test}
    spaces = {
        "encoder features": {name: vae.features(model, stack) for name, stack in sets.items()},
        "pixels": {name: evaluate.pixels(stack) for name, stack in sets.items()},
    }
    found = {space: evaluate.Proximity.between(**vectors) for space, vectors in spaces.items()}
    table = evaluate.privacy_table(found, seed=params.seed, resamples=params.resamples)
    table.to_csv(snakemake.output.table, index=False)

    def closest(title: str, stack: np.ndarray, space: str, near: evaluate.Neighbours):
        first = np.argsort(near.distance, kind="stable")[:N_PAIRS]
        shown = stack[first], prepared.train[near.index[first]]
        return figures.ClosestPairs(space, title, *shown, near.distance[first])

    left = [closest("Generated", generated, s, p.generated_to_train) for s, p in found.items()]
    right = [closest("Held out", prepared.test, s, p.held_out_to_train) for s, p in found.items()]
    figures.save(figures.closest_pairs(left, right), Path(snakemake.output.closest_pairs))
