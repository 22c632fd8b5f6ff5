"""The generator that starts from a network trained before."""

import numpy as np
import pytest
import torch

from covary.config.generator import Generator
from covary.diffusion import train_generator
from covary.diffusion.generator import ImageGenerator
from covary.diffusion.loss import reading_errors
from covary.diffusion.start import read_start, write_start
from covary.errors import UserError
from covary.vae import VAE

SHAPE = {"block_channels": [16, 16], "patch_px": 4}
SIZE_PX = 32


def generator_of(latents: int, **settings) -> ImageGenerator:
    torch.manual_seed(latents)
    return ImageGenerator.initialise(Generator(**SHAPE, **settings), VAE(SIZE_PX, latents, 4), SIZE_PX)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    trained = generator_of(3, conditioning="decoding")
    path = tmp_path_factory.mktemp("start") / "scans.safetensors"
    write_start(trained.unet, 0.125, Generator(**SHAPE), SIZE_PX, 1, path)
    return trained, path


@torch.no_grad()
def test_a_generator_with_other_latents_first_draws_as_its_start(start):
    """What z adds is 0 at first, so both networks agree up to the rounding of half precision."""
    trained, path = start
    started = generator_of(5, start=str(path))
    assert started.residual_scale == 0.125
    x, decoding = torch.randn(2, 2, 16, 8, 8)
    t = torch.tensor([10, 800])
    expected = trained.predict(x, t, torch.randn(2, 3), decoding)
    found = started.predict(x, t, torch.randn(2, 5), decoding)
    np.testing.assert_allclose(found, expected, atol=5e-3)
    assert expected.std() > 0.05


def test_z_is_learned_by_a_generator_that_starts_from_a_file(start):
    """The layers that z enters are 0, and their gradients are not."""
    started = generator_of(5, start=str(start[1]))
    x, decoding = torch.randn(2, 2, 16, 8, 8)
    started.predict(x, torch.tensor([10, 800]), torch.randn(2, 5), decoding).square().sum().backward()
    weights = dict(started.unet.named_parameters())
    for name in (
        "class_embedding.linear_1.weight",
        "mid_block.attentions.0.transformer_blocks.0.attn2.to_v.weight",
    ):
        assert not weights[name].any()
        assert weights[name].grad.abs().max() > 0


def test_a_vae_that_reads_nothing_is_named(tmp_path):
    config = Generator(**SHAPE, steps=1, reading_weight=1.0)
    images, nothing = np.zeros((4, 1, SIZE_PX, SIZE_PX), np.uint8), np.zeros((4, 5), np.float32)
    with pytest.raises(UserError, match="the encoder reads no latent"):
        train_generator(images, nothing, nothing, VAE(SIZE_PX, 5, 4), SIZE_PX, config, 1, tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "no such file; set the key to null"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-1]),
            "is not the file of .*sha256; restore both",
        ),
        (
            lambda path: path.with_name(f"{path.name}.sha256").unlink(),
            "is not the file of .*sha256; restore both",
        ),
    ],
)
def test_a_damaged_start_is_refused(start, tmp_path, spoil, message):
    path = tmp_path / start[1].name
    for name in (path.name, f"{path.name}.sha256"):
        (tmp_path / name).write_bytes(start[1].with_name(name).read_bytes())
    spoil(path)
    with pytest.raises(UserError, match=message):
        read_start(Generator(**SHAPE, start=str(path)), SIZE_PX, 1)


@pytest.mark.parametrize(
    ("other", "size_px", "channels", "message"),
    [
        ({"block_channels": [16, 32]}, 32, 1, r"block_channels \[16, 16\], here it is \[16, 32\]"),
        ({}, 64, 1, "size_px 32, here it is 64"),
        ({}, 32, 3, "channels 1, here it is 3"),
    ],
)
def test_a_start_of_another_shape_is_refused(start, other, size_px, channels, message):
    with pytest.raises(UserError, match=message):
        read_start(Generator(**SHAPE | other, start=str(start[1])), size_px, channels)


def test_the_same_network_gives_the_same_file(start, tmp_path):
    trained, path = start
    again = tmp_path / path.name
    write_start(trained.unet, 0.125, Generator(**SHAPE), SIZE_PX, 1, again)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_reading_is_learned_for_latents_that_no_image_has(start, tmp_path):
    """With a weight on it, z ~ N(0, I) is read back better from what is drawn for it than without."""
    torch.manual_seed(1)
    images = (255 * torch.rand(24, 1, SIZE_PX, SIZE_PX)).to(torch.uint8).numpy()
    mean = torch.randn(24, 5).numpy()
    vae = VAE(SIZE_PX, 5, 4).eval()
    with torch.no_grad():  # an encoder whose readings differ between images
        spread = vae.encode(torch.rand(64, 1, SIZE_PX, SIZE_PX))[0].std()
        vae.encoder[-1].weight.div_(spread)
    z, noise = torch.randn(64, 5), torch.randn(64, 16, 8, 8)
    t, readable = torch.arange(64) * 15, torch.ones(5, dtype=torch.bool)
    misread = {}
    for weight in (0.0, 10.0):
        config = Generator(
            **SHAPE, steps=300, learning_rate=0.005, conditioning_source="reading", reading_weight=weight
        )
        log_variance = np.full_like(mean, -4)
        generator, _ = train_generator(
            images, mean, log_variance, vae, SIZE_PX, config, 1, tmp_path / f"{weight}"
        )
        with torch.no_grad():
            misread[weight] = reading_errors(generator, z, noise, t, readable).mean().item()
    assert misread[10.0] < 0.98 * misread[0.0], misread
