"""Posterior mean and log variance of every prepared image."""

from pathlib import Path

import numpy as np

from covary import images, vae
from covary.jobs.run import run


def encode_images(index: Path, weights: Path, encodings: Path) -> None:
    """Write both moments of q(z|x) for the training and the test images, and γ if there are gates."""
    prepared = images.load(index.parent)
    model = vae.VAE.load(weights.parent)
    train_mean, train_log_variance = vae.encode(model, prepared.train)
    test_mean, test_log_variance = vae.encode(model, prepared.test)
    gates = vae.gates(model, prepared.train)
    np.savez(
        encodings,
        train_mean=train_mean,
        train_log_variance=train_log_variance,
        test_mean=test_mean,
        test_log_variance=test_log_variance,
        **({} if gates is None else {"train_gate": gates}),
    )


if __name__ == "__main__":
    run(encode_images)
