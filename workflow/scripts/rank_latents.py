"""Rank the active latents and pick the random effects."""

from pathlib import Path

import numpy as np
from covary import nlme, vae
from covary.config import Ranking
from covary.job import job

with job(snakemake.log[0]):
    n_random_effects = nlme.load_model(snakemake.params.model).n_random_effects
    ranking = vae.rank_latents(
        vae.VAE.load(Path(snakemake.input.weights).parent),
        np.load(snakemake.input.encodings)["train_mean"].var(axis=0),
        Ranking(**snakemake.params.ranking),
        n_random_effects=n_random_effects,
        seed=snakemake.params.seed,
    )
    ranking.to_csv(snakemake.output.ranking, index=False)
