"""The ranking of the latents and the curves of all trainings."""

from pathlib import Path

import pandas as pd

from covary import figures
from covary.jobs.run import run


def plot_training(
    ranking: Path,
    agreement: Path,
    vae: Path,
    generator: Path,
    histories: list[Path],
    trained: list[tuple[float, str, str]],
    random_effects: list[str],
    latent_ranking: Path,
    training_curves: Path,
) -> None:
    """Draw both figures; `trained` says of each history its noise variance, predictor and objective."""
    predictors = {key: pd.read_csv(path) for key, path in zip(trained, histories, strict=True)}
    latents = figures.latent_ranking(pd.read_csv(ranking), pd.read_csv(agreement), random_effects)
    figures.save(latents, latent_ranking)
    curves = figures.training_curves(pd.read_csv(vae), pd.read_csv(generator), predictors)
    figures.save(curves, training_curves)


if __name__ == "__main__":
    run(plot_training)
