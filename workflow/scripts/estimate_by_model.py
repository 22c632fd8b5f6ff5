"""Estimate random effects of all subjects under a model of the ladder, and predict them from images."""

from pathlib import Path

import numpy as np

from covary import predict, store
from covary.config.ladder import Rung
from covary.config.predictors import Predictor
from covary.dataset import names
from covary.dataset.scenario import Scenario
from covary.dataset.subjects import members
from covary.evaluate.estimators import Fitted
from covary.jobs.run import run
from covary.records.study import Study


def estimate_by_model(
    dataset: Path,
    noise_variance: float,
    model: str,
    rung: Rung,
    fitted: Path,
    predictor: Predictor,
    images: Path,
    estimates: Path,
    checkpoints: Path,
    seed: int,
    threads: int,
    code: str,
) -> None:
    """Write estimates of all subjects, and what the images of test subjects say of them."""
    study, found = Study.of(dataset, model), Fitted.read(rung, fitted)
    observation = store.read(dataset, names.records(Scenario(noise_variance).name))["observation"].values
    estimate = found.estimates(study.records(observation))
    subjects = store.read(dataset, names.SUBJECTS)
    *parts, test = (members(subjects, split) for split in ("train", "validation", "test"))
    inputs = [predict.read_inputs(predictor.network, dataset, part, images) for part in (*parts, test)]
    examples = [
        predict.Examples(seen, predict.Targets(estimate[part]))
        for seen, part in zip(inputs[:2], parts, strict=True)
    ]
    network, _ = predict.train_predictor(
        *examples,
        predict.MeanSquaredError(),
        predictor,
        seed=seed,
        checkpoint_dir=checkpoints / code,
        workers=threads - 1,
    )
    predicted = predict.predict(network, inputs[2])
    outcome = found.outcomes(predicted.astype(np.float64), study.records(observation[test], test).design)
    np.savez(estimates, estimate=estimate, predicted=predicted, outcome=outcome)


if __name__ == "__main__":
    run(estimate_by_model)
