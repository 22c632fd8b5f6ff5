"""The sets of images that are compared."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64, UInt8

from covary.config.evaluation import Quality
from covary.config.generator import Sampling
from covary.diffusion import ImageGenerator, reconstruct
from covary.images import PreparedImages
from covary.vae import decode, seen


@dataclass(frozen=True)
class ImageSets:
    """The images that are compared; `real_test` are those of the test split, in its order."""

    real_train: UInt8[np.ndarray, "n c h w"]
    real_test: UInt8[np.ndarray, "m c h w"]
    generated: UInt8[np.ndarray, "k c h w"]  # of the test subjects
    vae_input: UInt8[np.ndarray, "r c h2 w2"]  # some test images as the VAE sees them
    vae_reconstructions: UInt8[np.ndarray, "r c h2 w2"]
    generator_input: UInt8[np.ndarray, "r c h w"]  # the same ones as the generator learns them
    generator_reconstructions: UInt8[np.ndarray, "r c h w"]


def collect(
    prepared: PreparedImages,
    encodings: Mapping[str, Float[np.ndarray, "image latent"]],
    generated: UInt8[np.ndarray, "k c h w"],
    generator: ImageGenerator,
    config: Quality,
    sampling: Sampling,
    seed: int,
) -> ImageSets:
    """The sets of an experiment, chosen evenly over the order of its images, and some reconstructions.

    `encodings` has `test_mean` and `test_log_variance`, the VAE's posterior of every test image.
    """
    some = spread(len(prepared.test), config.reconstructions)
    mean, log_variance = (encodings[f"test_{part}"][some] for part in ("mean", "log_variance"))
    return ImageSets(
        real_train=prepared.generator_train[spread(len(prepared.train), config.training_images)],
        real_test=prepared.generator_test[spread(len(prepared.test), config.images)],
        generated=generated,
        vae_input=seen(generator.vae, prepared.test[some]),
        vae_reconstructions=decode(generator.vae, mean),
        generator_input=prepared.generator_test[some],
        generator_reconstructions=reconstruct(generator, mean, log_variance, sampling, seed),
    )


def spread(total: int, n: int) -> Int64[np.ndarray, " k"]:
    """At most n of the numbers 0 … total - 1, evenly over their order, which may be by class."""
    return np.linspace(0, total - 1, min(n, total)).astype(np.int64)
