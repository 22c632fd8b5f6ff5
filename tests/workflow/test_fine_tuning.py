"""Fine-tuning of a Stable Diffusion through the rules, on one of tiny size."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel

sys.path.insert(0, str(Path(__file__).parents[1] / "diffusion"))
from tiny import save_tiny_stable_diffusion


@pytest.mark.slow
def test_a_pretrained_model_is_fine_tuned_at_a_size_of_its_own(project):
    save_tiny_stable_diffusion(project.folder / "resources" / "weights" / "tiny")
    raw = yaml.safe_load((project.folder / "config" / "tiny.yaml").read_text())
    raw["images"]["generator_size_px"] = 64
    raw["vae"] |= {"architecture": "resnet18", "crop_rows": 5, "perceptual": "random"}
    raw["generator"] = {
        "pretrained": "resources/weights/tiny",
        "conditioning": "paper",
        "steps": 4,
        "batch_size": 4,
        "checkpoint_steps": 2,
    }
    (project.folder / "config" / "tuned.yaml").write_text(yaml.safe_dump(raw))
    run = project.snakemake("results/tiny/tables/generator_quality.csv", config="config/tuned.yaml")
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    latents = np.load(project.results / "latents" / "train.npy", mmap_mode="r")
    assert latents.shape == (48, 8, 32, 32) and latents.dtype == np.float16
    folder = project.results / "generator"
    assert UNet2DConditionModel.from_pretrained(folder / "unet").config.cross_attention_dim == 768
    assert AutoencoderKL.from_pretrained(folder / "autoencoder").config.latent_channels == 4
    assert pd.read_csv(folder / "history.csv")["step"].tolist() == [2, 4]
    quality = pd.read_csv(project.results / "tables" / "generator_quality.csv")
    assert {"readback_r2", "frechet_distance", "ssim", "nearest_mse"} <= set(quality["measure"])
