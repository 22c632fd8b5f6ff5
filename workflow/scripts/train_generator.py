"""Train the conditional diffusion model."""

from pathlib import Path

import numpy as np

from covary import diffusion, images, vae
from covary.config import Generator
from covary.job import job

with job(snakemake.log[0]):
    prepared = images.load(Path(snakemake.input.index).parent)
    encodings = np.load(snakemake.input.encodings)
    folder = Path(snakemake.output.history).parent
    generator, history = diffusion.train_generator(
        prepared.train,
        encodings["train_mean"],
        encodings["train_log_variance"],
        vae.VAE.load(Path(snakemake.input.vae).parent),
        Generator(**snakemake.params.generator),
        seed=snakemake.params.seed,
        checkpoint_dir=folder / "checkpoints" / snakemake.params.code,
    )
    generator.save(folder)
    history.to_csv(snakemake.output.history, index=False)
