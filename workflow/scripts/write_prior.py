"""Write a trained generator as a start for the generators of other experiments."""

from pathlib import Path

from covary import diffusion
from covary.config.generator import Generator
from covary.jobs.run import run


def write_prior(generator: Path, prior: Path, settings: Generator) -> None:
    """Write its weights and its shape, and the file's checksum beside it."""
    trained = diffusion.ImageGenerator.load(generator)
    diffusion.write_prior(
        trained.unet, trained.residual_scale, settings, trained.space.size_px, trained.vae.channels, prior
    )


if __name__ == "__main__":
    run(write_prior)
