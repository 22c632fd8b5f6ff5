"""Rank the active latents and pick the random effects."""

from pathlib import Path

import numpy as np

from covary import nlme, vae
from covary.config.vae import Ranking
from covary.jobs.job import job

with job(snakemake.log[0]):
    random_effects = len(nlme.load_model(snakemake.params.model).random_effects)
    ranking = vae.rank_latents(
        vae.VAE.load(Path(snakemake.input.weights).parent),
        np.load(snakemake.input.encodings)["train_mean"].var(axis=0),
        Ranking(**snakemake.params.ranking),
        random_effects=random_effects,
        seed=snakemake.params.seed,
    )
    ranking.to_csv(snakemake.output.ranking, index=False)
    vae.ranking_agreement(ranking).to_csv(snakemake.output.agreement, index=False)
