"""Train the image VAE."""

from pathlib import Path

from covary import images
from covary.config.vae import Vae
from covary.jobs.run import run
from covary.vae import train_vae


def train_image_vae(
    index: Path, weights: Path, history: Path, vae: Vae, active_variance: float, cpu_threads: int,
    seed: int, code: str,
) -> None:  # fmt: skip
    """Train on the prepared images and save the network beside its history."""
    prepared = images.load(index.parent)
    model, losses = train_vae(
        prepared.train,
        prepared.test,
        vae,
        seed=seed,
        checkpoint_dir=weights.parent / "checkpoints" / code,
        active_variance=active_variance,
        cpu_threads=cpu_threads,
    )
    model.save(weights.parent)
    losses.to_csv(history, index=False)


if __name__ == "__main__":
    run(train_image_vae)
