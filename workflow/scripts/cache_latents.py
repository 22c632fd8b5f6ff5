"""Encode all training images by the autoencoder of a pretrained diffusion model."""

from pathlib import Path

from covary import diffusion, images
from covary.config.generator import Generator
from covary.jobs.job import job
from covary.training.checkpoint import fingerprint
from covary.training.device import place

with job(snakemake.log[0]):
    train = images.load(Path(snakemake.input.index).parent).generator_train
    config = Generator(pretrained=snakemake.params.pretrained, conditioning="token")
    latents = Path(snakemake.output.latents)
    autoencoder = place(diffusion.load_autoencoder(config.pretrained))
    diffusion.cache_latents(
        diffusion.LatentSpace(autoencoder, train.shape[-1], train.shape[1]),
        train,
        latents,
        latents.parent / "checkpoints" / snakemake.params.code,
        fingerprint(config, 0, train),
    )
