"""Train one predictor on fewer training subjects, some times for each size, and predict the test subjects."""

from pathlib import Path

import numpy as np

from covary import predict, rng, store
from covary.config.predictors import Predictor
from covary.dataset import names
from covary.dataset.scenario import Scenario
from covary.dataset.subjects import members
from covary.jobs.run import run
from covary.records.study import Study


def measure_learning_curve(
    dataset: Path,
    noise_variance: float | None,
    predictor: str,
    model: str,
    settings: Predictor,
    fractions: list[float],
    trainings: int,
    images: Path,
    parameters: Path,
    posteriors: list[Path],
    curve: Path,
    seed: int,
    threads: int,
    code: str,
) -> None:
    """Write what each of the smaller predictors predicts for the test subjects."""
    level = predict.Level(dataset, Scenario(noise_variance), Study.of(dataset, model), parameters, posteriors)
    subjects = store.read(dataset, names.SUBJECTS)
    train, validation, test = (members(subjects, split) for split in ("train", "validation", "test"))
    sizes = [max(2, round(fraction * train.stop)) for fraction in fractions]
    seen = predict.read_inputs(settings.network, dataset, test, images)
    eta_pred = []
    for size in sizes:
        parts = slice(0, size), validation
        inputs = [predict.read_inputs(settings.network, dataset, part, images) for part in parts]
        for repeat in range(trainings):
            network, _ = level.train(
                settings.objective,
                inputs,
                parts,
                predict.for_subjects(settings, size, of=train.stop),
                seed=rng.stream_key(seed, "learning_curve", repeat) if repeat else seed,
                checkpoint_dir=curve.with_suffix("") / "checkpoints" / code / f"{size}_{repeat}",
                workers=threads - 1,
            )
            eta_pred.append(predict.predict(network, seen))
    np.savez(
        curve,
        sizes=np.repeat(sizes, trainings),
        eta_pred=np.stack(eta_pred),
        noise_variance=np.array(noise_variance),
        predictor=np.array(predictor),
    )


if __name__ == "__main__":
    run(measure_learning_curve)
