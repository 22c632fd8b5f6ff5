"""The run stops where the random effects cannot be read back from images, and goes on where they can."""

import logging

import numpy as np
import pandas as pd
import pytest

from covary import diffusion, gates, quality, rng
from covary.config.generator import Generator, Sampling
from covary.config.vae import Ranking, Vae
from covary.errors import UserError
from covary.vae import encode, rank_latents, train_vae

SIZE_PX, N = 16, 256
EFFECTS = ("eta_x", "eta_y")


@pytest.fixture(scope="module")
def spots():
    """A bright spot somewhere on a dark ground, and a VAE that knows where it is."""
    at = np.random.default_rng(0).normal(size=(2, N, 1, 1))
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX]
    spot = np.exp(-(((y - 8 - 2 * at[0]) / 3) ** 2) - ((x - 8 - 2 * at[1]) / 3) ** 2)
    return np.round(255 * spot[:, None]).astype(np.uint8)


@pytest.fixture(scope="module")
def trained(spots, tmp_path_factory):
    """The VAE, its encodings, and the ranking of its latents."""
    config = Vae(latent_dim=2, base_channels=4, epochs=12, batch_size=16, learning_rate=5e-3)
    config = config.model_copy(update={"horizontal_flip": False})
    vae, _ = train_vae(spots, spots[:32], config, 3, tmp_path_factory.mktemp("vae"))
    mean, log_variance = encode(vae, spots)
    draws = Ranking(readback_draws=1000, sensitivity_draws=20)
    ranking = rank_latents(vae, mean.var(axis=0), draws, 1, random_effects=2)
    return vae, mean, log_variance, ranking


def test_decodings_of_a_trained_vae_pass(trained):
    *_, ranking = trained
    shares = gates.readable_shares(ranking, EFFECTS, ranking["readback_r2"].to_numpy())
    assert shares["random_effect"].tolist() == list(EFFECTS)
    assert shares["latent"].tolist() == ranking.sort_values("random_effect")["latent"].tolist()
    gates.pass_through(gates.VAE, shares, 0.5)


@pytest.mark.parametrize("shuffled", [False, True])
def test_images_that_carry_nothing_stop_the_run(spots, trained, shuffled, tmp_path):
    """With z shuffled between images and encodings, the generator learns that z says nothing of an image."""
    vae, mean, log_variance, ranking = trained
    order = np.random.default_rng(1).permutation(N) if shuffled else np.arange(N)
    config = Generator(patch_px=2, block_channels=[32, 32], steps=80, learning_rate=3e-3, ema_decay=0.9)
    generator, _ = diffusion.train_generator(
        spots, mean[order], log_variance[order], vae, SIZE_PX, config, 1, tmp_path
    )
    z = rng.normal(1, "gate", 0, 200, (2,))
    drawn = diffusion.generate(generator, z, np.arange(200), Sampling(), 1)
    r2 = quality.readback_r2(z, quality.read_back(vae, drawn))
    shares = gates.readable_shares(ranking, EFFECTS, r2)
    if not shuffled:
        assert (r2 > 0.6).all()
        gates.pass_through(gates.GENERATOR, shares, 0.5)
        return
    assert (r2 < 0.2).all()
    with pytest.raises(UserError, match=r"^gates\.generator: a share of 0\.5") as stop:
        gates.pass_through(gates.GENERATOR, shares, 0.5)
    message = str(stop.value)
    assert "\n" not in message
    assert all(f"of {name} (latent" in message for name in EFFECTS)
    assert "generator.steps" in message and "`gates: {generator: null}`" in message


def test_only_the_random_effects_count_and_the_poor_ones_are_named(caplog):
    ranking = pd.DataFrame({"latent": range(4), "random_effect": [1, -1, 0, -1]})
    shares = gates.readable_shares(ranking, ("eta_ka", "eta_v"), np.array([0.62, 0.0, 0.31, np.nan]))
    gates.pass_through(gates.VAE, shares, 0.3)
    with pytest.raises(UserError, match=r"found 0\.31 of eta_ka \(latent 2\); train the VAE longer"):
        gates.pass_through(gates.VAE, shares, 0.5)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "covary"):
        gates.pass_through(gates.VAE, shares, None)
    assert "gates.vae is null: the run goes on although" in caplog.text
    assert "0.31 of eta_ka" in caplog.text and "eta_v" not in caplog.text


def test_a_share_that_is_not_a_number_does_not_pass():
    shares = pd.DataFrame({"random_effect": ["eta_v"], "latent": [0], "readback_r2": [np.nan]})
    with pytest.raises(UserError, match="nan of eta_v"):
        gates.pass_through(gates.GENERATOR, shares, 0.0)


def test_readback_r2_is_one_minus_the_share_of_the_error():
    z = np.random.default_rng(2).normal(size=(1000, 3))
    r2 = quality.readback_r2(z, np.column_stack([z[:, 0], np.full(1000, z[:, 1].mean()), -z[:, 2]]))
    np.testing.assert_allclose(r2, [1, 0, 1 - 4 * np.square(z[:, 2]).mean() / z[:, 2].var()], atol=1e-12)
