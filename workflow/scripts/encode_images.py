"""Posterior mean and log variance of every prepared image."""

from pathlib import Path

import numpy as np

from covary import images, vae
from covary.jobs.job import job

with job(snakemake.log[0]):
    prepared = images.load(Path(snakemake.input.index).parent)
    model = vae.VAE.load(Path(snakemake.input.weights).parent)
    train_mean, train_log_variance = vae.encode(model, prepared.train)
    test_mean, test_log_variance = vae.encode(model, prepared.test)
    np.savez(
        snakemake.output.encodings,
        train_mean=train_mean,
        train_log_variance=train_log_variance,
        test_mean=test_mean,
        test_log_variance=test_log_variance,
    )
