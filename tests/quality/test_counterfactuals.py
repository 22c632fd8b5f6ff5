"""Counterfactuals tell a faithful generator from one whose random effects leak into each other."""

import numpy as np
import pytest
import torch

from covary.config.generator import Generator, Sampling
from covary.dataset.latents import Latents
from covary.diffusion import ImageGenerator
from covary.quality.counterfactuals import counterfactuals
from covary.vae import VAE

NAMES = ["eta_a", "eta_b"]


def mixing(matrix: torch.Tensor) -> ImageGenerator:
    """A generator whose image shows z, and whose VAE reads `matrix` z from it."""
    torch.manual_seed(0)
    generator = ImageGenerator.initialise(Generator(block_channels=[16, 16]), VAE(16, 3, 4).eval(), 16)
    vae = generator.vae

    def decode(z):
        image = torch.full((len(z), 1, 16, 16), 0.5)
        image[:, 0, :3, 0] = 0.5 + 0.1 * z
        return image

    def encode(x):
        return (x[:, 0, :3, 0] - 0.5) / 0.1 @ matrix.T, torch.zeros(len(x), 3)

    vae.decode, vae.encode = decode, encode
    generator.residual_scale = 0.0  # nothing is added to the decoding
    return generator


def shifts(matrix):
    table = counterfactuals(
        mixing(matrix), Latents(np.array([2, 0]), np.ones(3)), NAMES, 8, Sampling(steps=2), 1
    )
    assert list(table["moved"]) == ["eta_a", "eta_a", "eta_b", "eta_b"]
    assert (table["low"] <= table["shift"]).all() and (table["shift"] <= table["high"]).all()
    return table.pivot(index="moved", columns="read", values="shift").loc[NAMES, NAMES].to_numpy()


def test_a_faithful_generator_moves_one_reading_by_two():
    np.testing.assert_allclose(shifts(torch.eye(3)), 2 * np.eye(2), atol=0.05)  # grey levels are 0.04 wide


def test_a_leak_is_found():
    matrix = torch.eye(3)
    matrix[0, 2] = 0.4  # latent 0 is read with a part of latent 2, which is eta_a
    np.testing.assert_allclose(shifts(matrix), [[2, 0.8], [0, 2]], atol=0.05)


@pytest.mark.parametrize("n", [1, 3])
def test_a_subject_has_the_same_counterfactuals_among_others(n):
    one = counterfactuals(
        mixing(torch.eye(3)), Latents(np.array([0]), np.ones(3)), NAMES[:1], n, Sampling(steps=2), 1
    )
    assert one["n"].item() == n and one["largest"].item() == pytest.approx(2, abs=0.05)
