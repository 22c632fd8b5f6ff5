"""The diffusion generator: conditioning, training, sampling."""

from covary.diffusion.generator import ImageGenerator
from covary.diffusion.sample import generate, initial_noise
from covary.diffusion.train import train_generator

__all__ = ["ImageGenerator", "generate", "initial_noise", "train_generator"]
