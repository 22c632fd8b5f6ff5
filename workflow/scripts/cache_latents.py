"""Encode all training images by the autoencoder of a pretrained diffusion model."""

from pathlib import Path

from covary import diffusion, images
from covary.config.generator import Generator
from covary.jobs.run import run
from covary.training.checkpoint import fingerprint
from covary.training.device import place


def cache_latents(index: Path, latents: Path, pretrained: str, code: str) -> None:
    """Write the posterior parameters of every training image in the space of the autoencoder."""
    train = images.load(index.parent).generator_train
    config = Generator(pretrained=pretrained, conditioning="token")
    autoencoder = place(diffusion.load_autoencoder(pretrained))
    diffusion.cache_latents(
        diffusion.LatentSpace(autoencoder, train.shape[-1], train.shape[1]),
        train,
        latents,
        latents.parent / "checkpoints" / code,
        fingerprint(config, 0, train),
    )


if __name__ == "__main__":
    run(cache_latents)
