"""Read-back, distances, reconstructions and nearest training images of the generator."""

from pathlib import Path

import numpy as np
import pandas as pd

from covary import diffusion, figures, images, quality, store
from covary.config.evaluation import Quality
from covary.config.generator import Sampling
from covary.dataset.subjects import members
from covary.jobs.job import job

N_SHOWN = 8

with job(snakemake.log[0]):
    params, source, output = snakemake.params, snakemake.input, snakemake.output
    config = Quality(**params.quality)
    generator = diffusion.ImageGenerator.load(Path(source.unet).parents[1])
    dataset = Path(source.images).parents[1] / "dataset.zarr"
    subjects = store.read(dataset, "subjects")
    test = members(subjects, "test")
    generated = store.read(dataset, "images")["image"][test][: config.images].values
    sets = quality.collect(
        images.load(Path(source.index).parent),
        np.load(source.encodings),
        generated,
        generator,
        config,
        Sampling(**params.sampling),
        params.seed,
    )
    z, z_read = subjects["z"][test][: config.images].values, quality.read_back(generator.vae, generated)
    spaces = quality.feature_spaces(generator.vae, config.inception_file)
    ranking = pd.read_csv(source.ranking)
    table = quality.generator_quality(sets, spaces, z, z_read, ranking, params.readback_draws)
    table.to_csv(output.table, index=False)
    figures.save(figures.generator_quality(table), Path(output.generator_quality))
    numbers, mse = quality.nearest(generated[:N_SHOWN], sets.real_train)
    nearest = figures.nearest_images(generated[:N_SHOWN], sets.real_train[numbers], mse)
    figures.save(nearest, Path(output.nearest_images))
