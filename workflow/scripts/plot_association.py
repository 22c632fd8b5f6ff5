"""Images with their records, and predicted trajectories."""

from pathlib import Path

import numpy as np

from covary import evaluate, figures, store
from covary.config.predictors import Predictor
from covary.dataset import names
from covary.jobs.run import run
from covary.records.study import Study

N_SUBJECTS = 4


def plot_association(
    dataset: Path,
    model: str,
    predictors: list[Predictor],
    noise_variances: list[float],
    association: Path,
    trajectories: Path,
) -> None:
    """Draw the two figures of a few test subjects."""
    study = Study.of(dataset, model)
    held_out = evaluate.HeldOut(dataset, predictors)
    test = np.arange(held_out.subjects.start, held_out.subjects.stop)
    encoded = study.predictions(held_out.eta, test)
    shown = figures.spread_subjects(encoded, N_SUBJECTS)
    observed = np.stack([held_out.observation(v)[shown] for v in noise_variances])
    levels = [held_out.random_effects(v) for v in noise_variances]
    predicted = {
        name: np.stack([study.predictions(level.eta_pred[name][shown], test[shown]) for level in levels])
        for name in held_out.names
    }
    average = study.predictions(np.zeros((1, held_out.eta.shape[1])), test[:1])[0]
    images = store.read(dataset, names.IMAGES)["image"][held_out.subjects][shown]
    pictures = figures.in_colours(images.values, images["channel"].values.tolist())
    units = study.model.time_unit, study.model.outcome_unit
    figures.save(
        figures.association(pictures, study.times_h, noise_variances, observed, encoded[shown], units),
        association,
    )
    figures.save(
        figures.trajectories(study.times_h, noise_variances, observed, predicted, average, units),
        trajectories,
    )


if __name__ == "__main__":
    run(plot_association)
