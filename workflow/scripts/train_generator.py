"""Train the conditional diffusion model."""

from functools import partial
from pathlib import Path

import numpy as np

from covary import diffusion, images, vae
from covary.config.generator import Generator
from covary.jobs.run import run
from covary.training import device


def train_generator(
    index: Path,
    encodings: Path,
    vae_weights: Path,
    latents: list[Path],
    history: Path,
    settings: Generator,
    seed: int,
    gpus: int,
    code: str,
) -> None:
    """Train on one device, or on as many GPUs as the job has, and save the generator beside its history."""
    arguments = (index, encodings, vae_weights, latents, history, settings, seed, code)
    device.launch(partial(_train, *arguments), gpus)


def _train(
    index: Path,
    encodings: Path,
    vae_weights: Path,
    latents: list[Path],
    history: Path,
    settings: Generator,
    seed: int,
    code: str,
) -> None:
    prepared = images.load(index.parent)
    posterior = np.load(encodings)
    generator, losses = diffusion.train_generator(
        np.load(latents[0], mmap_mode="r") if latents else prepared.generator_train,
        posterior["train_mean"],
        posterior["train_log_variance"],
        vae.VAE.load(vae_weights.parent),
        prepared.generator_train.shape[-1],
        settings,
        seed=seed,
        checkpoint_dir=history.parent / "checkpoints" / code,
        gate=posterior.get("train_gate"),
    )
    if device.is_main_process():
        generator.save(history.parent)
        losses.to_csv(history, index=False)


if __name__ == "__main__":
    run(train_generator)
