"""Train the conditional diffusion model."""

from pathlib import Path

import numpy as np

from covary import diffusion, images, vae
from covary.config.generator import Generator
from covary.jobs.job import job
from covary.training import device


def train() -> None:
    prepared = images.load(Path(snakemake.input.index).parent)
    encodings = np.load(snakemake.input.encodings)
    folder = Path(snakemake.output.history).parent
    latents = snakemake.input.latents
    generator, history = diffusion.train_generator(
        np.load(latents, mmap_mode="r") if latents else prepared.generator_train,
        encodings["train_mean"],
        encodings["train_log_variance"],
        vae.VAE.load(Path(snakemake.input.vae).parent),
        prepared.generator_train.shape[-1],
        Generator(**snakemake.params.generator),
        seed=snakemake.params.seed,
        checkpoint_dir=folder / "checkpoints" / snakemake.params.code,
    )
    if device.is_main_process():
        generator.save(folder)
        history.to_csv(snakemake.output.history, index=False)


with job(snakemake.log[0]):
    device.launch(train, snakemake.resources.gpu)
