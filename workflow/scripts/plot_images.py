"""Real and generated images, reconstructions, traversals of the leading latents."""

from pathlib import Path

import numpy as np
import pandas as pd

from covary import diffusion, figures, images, quality, store, vae
from covary.config.generator import Sampling
from covary.jobs.job import job

N_EXAMPLES, N_RECONSTRUCTIONS, N_LATENTS = 16, 6, 5
VALUES = np.linspace(-3, 3, 7)

with job(snakemake.log[0]):
    source, output, seed = snakemake.input, snakemake.output, snakemake.params.seed
    sampling = Sampling(**snakemake.params.sampling)
    prepared = images.load(Path(source.index).parent)
    generator = diffusion.ImageGenerator.load(Path(source.unet).parents[1])
    generated = store.read(Path(source.images).parents[1] / "dataset.zarr", "images")["image"]

    some = quality.spread(len(prepared.test), N_EXAMPLES)
    examples = figures.examples(prepared.generator_test[some], generated[-N_EXAMPLES:].values)
    figures.save(examples, Path(output.examples))

    some = quality.spread(len(prepared.test), N_RECONSTRUCTIONS)
    encodings = np.load(source.encodings)
    mean, log_variance = (encodings[f"test_{part}"][some] for part in ("mean", "log_variance"))
    by_generator = diffusion.reconstruct(generator, mean, log_variance, sampling, seed)
    reconstructions = figures.reconstructions(
        prepared.test[some], vae.decode(generator.vae, mean), by_generator
    )
    figures.save(reconstructions, Path(output.reconstructions))

    ranking = pd.read_csv(source.ranking)
    ranked = ranking[ranking["active"]].sort_values("rank_readback")["latent"].to_numpy()[:N_LATENTS]
    strips = diffusion.traverse(generator, ranked, VALUES, sampling, seed)
    figures.save(figures.traversals(strips, ranked.tolist(), VALUES), Path(output.traversals))
