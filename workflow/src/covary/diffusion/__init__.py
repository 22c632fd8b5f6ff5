"""The diffusion generator: spaces, conditioning, training, sampling."""

from covary.diffusion.generator import ImageGenerator
from covary.diffusion.pretrained import load_autoencoder
from covary.diffusion.sample import generate, initial_noise, reconstruct, traverse
from covary.diffusion.spaces import LatentSpace, PixelSpace, cache_latents
from covary.diffusion.start import write_start
from covary.diffusion.train import train_generator

__all__ = [
    "ImageGenerator",
    "LatentSpace",
    "PixelSpace",
    "cache_latents",
    "generate",
    "initial_noise",
    "load_autoencoder",
    "reconstruct",
    "train_generator",
    "traverse",
    "write_start",
]
