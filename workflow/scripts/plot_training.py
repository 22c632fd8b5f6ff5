"""The ranking of the latents and the curves of all trainings."""

from pathlib import Path

import pandas as pd

from covary import figures
from covary.jobs.job import job

with job(snakemake.log[0]):
    predictors = {
        (float(path.parts[-3].removeprefix("noise_")), path.parts[-2]): pd.read_csv(path)
        for path in map(Path, snakemake.input.predictors)
    }
    ranking = figures.latent_ranking(
        pd.read_csv(snakemake.input.ranking), pd.read_csv(snakemake.input.agreement)
    )
    figures.save(ranking, Path(snakemake.output.latent_ranking))
    curves = figures.training_curves(
        pd.read_csv(snakemake.input.vae), pd.read_csv(snakemake.input.generator), predictors
    )
    figures.save(curves, Path(snakemake.output.training_curves))
