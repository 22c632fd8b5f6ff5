"""The image VAE that starts from a network trained before."""

import numpy as np
import pytest
import torch

from covary.config.experiment import Config
from covary.config.vae import Vae
from covary.errors import UserError
from covary.vae import VAE, encode, train_vae, write_start
from covary.vae.start import start_from
from covary.vae.train import new_network

SIZE_PX = 32
SHAPE = {"latent_dim": 3, "base_channels": 4}
SHIPPED = "workflow/pretrained/oct_64px_vae.safetensors"


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    torch.manual_seed(5)
    trained = new_network(Vae(**SHAPE), SIZE_PX, 1)
    path = tmp_path_factory.mktemp("start") / "scans.safetensors"
    write_start(trained, Vae(**SHAPE), SIZE_PX, path)
    return trained, path


def images(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, 1, SIZE_PX, SIZE_PX), dtype=np.uint8)


def test_a_network_that_starts_from_a_file_encodes_as_that_of_the_file(start):
    """Up to the rounding of half precision."""
    trained, path = start
    network = new_network(Vae(**SHAPE), SIZE_PX, 1)
    assert np.abs(encode(network, images(8))[0] - encode(trained, images(8))[0]).max() > 0.05
    start_from(network, Vae(**SHAPE, start=str(path)), SIZE_PX)
    for found, expected in zip(encode(network, images(8)), encode(trained, images(8)), strict=True):
        np.testing.assert_allclose(found, expected, atol=5e-3)


def test_a_training_goes_on_from_the_start(start, tmp_path):
    """With next to no steps it keeps the weights of the file."""
    config = Vae(**SHAPE, start=str(start[1]), epochs=1, learning_rate=1e-9)
    network, _ = train_vae(images(8), images(4), config, 1, tmp_path)
    for (name, found), expected in zip(network.named_parameters(), start[0].parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("size_px", "channels", "other", "message"),
    [
        (64, 1, {}, "size_px 32, here it is 64"),
        (SIZE_PX, 3, {}, "channels 1, here it is 3"),
        (SIZE_PX, 1, {"latent_dim": 4}, "latent_dim 3, here it is 4"),
        (SIZE_PX, 1, {"family": "sparse_vae"}, "family beta_vae, here it is sparse_vae"),
    ],
)
def test_a_start_of_another_shape_is_refused(start, size_px, channels, other, message):
    config = Vae(**SHAPE | other, start=str(start[1]))
    network = VAE(size_px, config.latent_dim, 4, channels=channels)
    with pytest.raises(UserError, match=f"vae.start: .*{message}; set the key to null"):
        start_from(network, config, size_px)


@pytest.mark.parametrize(
    ("raw", "starts"),
    [
        ({}, True),
        ({"vae": {"beta": 0.1}}, True),
        ({"vae": {"start": None}}, False),
        ({"vae": {"latent_dim": 8}}, False),
        ({"vae": {"family": "sparse_vae"}}, False),
        ({"images": {"size_px": 128}}, False),
        ({"images": {"source": "folder", "folder": "scans"}}, False),
        ({"generator": {"block_channels": [32, 64]}}, True),
    ],
)
def test_only_vaes_of_drawn_scans_start_from_the_shipped_network(raw, starts):
    vae = Config(**raw).vae
    assert vae.start == (SHIPPED if starts else None)
    assert (vae.epochs < 18) == starts == (vae.beta_warmup_epochs == 0)
    assert Config(**Config(**raw).model_dump()) == Config(**raw)


def test_what_is_said_of_the_training_holds_with_a_start():
    assert Config(vae={"epochs": 40}).vae.epochs == 40
    assert Config(vae={"beta_warmup_epochs": 2.0}).vae.beta_warmup_epochs == 2
