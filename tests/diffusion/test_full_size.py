"""Networks of the size of Stable Diffusion 1.5, with random weights, at 512 pixels."""

import numpy as np
import psutil
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from tiny import SCHEDULE

from covary.config.generator import Generator, Sampling
from covary.diffusion import ImageGenerator, LatentSpace, generate
from covary.diffusion.loss import squared_errors
from covary.diffusion.spaces import PixelSpace
from covary.diffusion.train import _draw
from covary.vae import VAE

SIZE_PX, LATENT_DIM = 512, 128
GIB = 2**30
CONFIG = Generator(conditioning="paper", noise_offset=0.1, min_snr_gamma=5.0)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        psutil.virtual_memory().available < 10 * GIB,
        reason="needs 10 GiB of free memory",
    ),
]


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


class Latents(PixelSpace):
    """Latents in the shape of the autoencoder's, where the autoencoder itself is not at issue."""

    def __init__(self):
        self.size_px, self.image_channels = SIZE_PX // 8, 1
        self.channels, self.grid_px, self.noise_shape = 4, SIZE_PX // 8, (4, SIZE_PX // 8, SIZE_PX // 8)

    def read(self, stored, draws, device):
        return torch.from_numpy(stored)

    def from_noise(self, noise):
        return noise

    def to_images(self, x):
        return x[:, :1]


def test_the_unet_trains_a_step_and_draws_an_image():
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)  # the defaults are its shape
    assert parameters(unet) == 859_520_964
    unet.enable_gradient_checkpointing()
    generator = ImageGenerator(
        unet, DDPMScheduler(**SCHEDULE), VAE(64, LATENT_DIM, 4).eval(), Latents(), tokens=77
    )
    mean = np.zeros((1, LATENT_DIM), np.float32)
    latents = np.random.default_rng(0).normal(size=(1, 4, 64, 64)).astype(np.float32)
    drawn = _draw(
        generator, latents, mean, mean, mean.std(axis=0), CONFIG, torch.Generator().manual_seed(1),
        torch.device("cpu"),
    )  # fmt: skip
    before = unet.conv_in.weight.detach().clone()
    # Not AdamW, whose state alone takes twice the memory of the weights.
    optimiser = torch.optim.SGD(unet.train().parameters(), lr=1e-3, foreach=False)
    loss = squared_errors(generator, **vars(drawn), min_snr_gamma=CONFIG.min_snr_gamma).mean()
    loss.backward()
    optimiser.step()
    assert loss.isfinite() and not torch.equal(unet.conv_in.weight, before)
    optimiser.zero_grad()
    image = generate(generator, mean, np.array([0]), Sampling(solver="dpmsolver++", steps=1), 1)
    assert image.shape == (1, 1, 64, 64)


def test_the_autoencoder_encodes_and_decodes_512_pixels():
    autoencoder = AutoencoderKL(
        in_channels=3, out_channels=3, block_out_channels=(128, 256, 512, 512), layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4, sample_size=512, scaling_factor=0.18215,
    )  # fmt: skip
    assert parameters(autoencoder) == 83_653_863
    space = LatentSpace(autoencoder, SIZE_PX)
    image = np.random.default_rng(0).integers(0, 256, (1, 1, SIZE_PX, SIZE_PX), dtype=np.uint8)
    stored = space.encode(image)
    assert stored.shape == (1, 8, 64, 64) and np.isfinite(stored).all()
    x = space.read(stored, torch.Generator().manual_seed(1), torch.device("cpu"))
    assert space.to_images(x).shape == (1, 1, SIZE_PX, SIZE_PX)
