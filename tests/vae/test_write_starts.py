"""The script that writes the networks from which others start."""

import runpy
from pathlib import Path

import torch

from covary.config.generator import Generator
from covary.config.vae import Vae
from covary.diffusion.generator import ImageGenerator
from covary.diffusion.start import read_start
from covary.vae.start import start_from
from covary.vae.train import new_network

ROOT = Path(__file__).parents[2]


def test_both_networks_are_written_so_that_others_start_from_them(tmp_path):
    of_vae, of_generator = Vae(latent_dim=3, base_channels=4), Generator(block_channels=[16, 16])
    torch.manual_seed(1)
    generator = ImageGenerator.initialise(of_generator, new_network(of_vae, 32, 1), 32)
    generator.save(tmp_path / "generator")
    files = {name: tmp_path / f"{name}.safetensors" for name in ("vae_start", "generator_start")}
    script = runpy.run_path(str(ROOT / "workflow" / "scripts" / "write_starts.py"))
    script["write_starts"](tmp_path / "generator", **files, vae=of_vae, settings=of_generator)
    network = new_network(of_vae, 32, 1)
    start_from(network, of_vae.model_copy(update={"start": str(files["vae_start"])}), 32)
    for found, expected in zip(network.parameters(), generator.vae.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    started = of_generator.model_copy(update={"start": str(files["generator_start"])})
    assert read_start(started, 32, 1).residual_scale == generator.residual_scale
