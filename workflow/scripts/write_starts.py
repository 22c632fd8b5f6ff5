"""Write a trained image VAE and generator as starts for those of other experiments."""

from pathlib import Path

from covary import diffusion
from covary.config.generator import Generator
from covary.config.vae import Vae
from covary.jobs.run import run
from covary.vae import write_start


def write_starts(
    generator: Path, vae_start: Path, generator_start: Path, vae: Vae, settings: Generator
) -> None:
    """Write weights and shapes of both networks, and the checksum of each file beside it."""
    trained = diffusion.ImageGenerator.load(generator)
    size_px, channels = trained.space.size_px, trained.vae.channels
    write_start(trained.vae, vae, size_px, vae_start)
    diffusion.write_start(trained.unet, trained.residual_scale, settings, size_px, channels, generator_start)


if __name__ == "__main__":
    run(write_starts)
