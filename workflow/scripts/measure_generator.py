"""Read-back, distances, reconstructions and nearest training images of the generator."""

from pathlib import Path

import numpy as np
import pandas as pd

from covary import diffusion, figures, images, quality, rng, store, vae
from covary.config import Quality, Sampling
from covary.job import job
from covary.subjects import members

N_SHOWN = 8

with job(snakemake.log[0]):
    params, config = snakemake.params, Quality(**snakemake.params.quality)
    prepared = images.load(Path(snakemake.input.index).parent)
    generator = diffusion.ImageGenerator.load(Path(snakemake.input.unet).parents[1])
    ranking, encodings = pd.read_csv(snakemake.input.ranking), np.load(snakemake.input.encodings)
    dataset = Path(snakemake.input.images).parents[1] / "dataset.zarr"
    subjects = store.read(dataset, "subjects")
    test = members(subjects, "test")
    test = slice(test.start, min(test.stop, test.start + config.images))
    generated = store.read(dataset, "images")["image"][test].values

    some = quality.spread(len(prepared.test), config.reconstructions)
    mean, log_variance = (encodings[f"test_{part}"][some] for part in ("mean", "log_variance"))
    z = mean + np.exp(0.5 * log_variance) * rng.normal(params.seed, "quality", 0, len(some), mean.shape[1:])
    sets = quality.ImageSets(
        real_train=prepared.generator_train[quality.spread(len(prepared.train), config.training_images)],
        real_test=prepared.generator_test[quality.spread(len(prepared.test), config.images)],
        generated=generated,
        vae_input=vae.seen(generator.vae, prepared.test[some]),
        vae_reconstructions=vae.decode(generator.vae, mean),
        generator_input=prepared.generator_test[some],
        generator_reconstructions=diffusion.generate(
            generator, z, np.arange(len(some)), Sampling(**params.sampling), params.seed
        ),
    )
    spaces = [quality.encoder_features(generator.vae)]
    if config.inception_file is not None:
        spaces.append(quality.inception_features(Path(config.inception_file)))
    z_read = quality.read_back(generator.vae, generated)
    table = quality.generator_quality(
        sets, spaces, subjects["z"][test].values, z_read, ranking, params.readback_draws
    )
    table.to_csv(snakemake.output.table, index=False)
    figures.save(figures.generator_quality(table), Path(snakemake.output.generator_quality))
    shown = generated[:N_SHOWN]
    numbers, mse = quality.nearest(shown, sets.real_train)
    nearest = figures.nearest_images(shown, sets.real_train[numbers], mse)
    figures.save(nearest, Path(snakemake.output.nearest_images))
