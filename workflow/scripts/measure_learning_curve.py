"""Train one predictor on fewer training subjects, for several sizes, and predict the test subjects."""

from pathlib import Path

import numpy as np

from covary import predict, store
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
    images: Path,
    parameters: Path,
    posteriors: list[Path],
    curve: Path,
    seed: int,
    threads: int,
    code: str,
) -> None:
    """Write what each of the smaller predictors predicts for the test subjects."""
    digest = store.read_marker(images)["sha256"]["image"]
    level = predict.Level(dataset, Scenario(noise_variance), Study.of(dataset, model), parameters, posteriors)
    subjects = store.read(dataset, names.SUBJECTS)
    train, validation, test = (members(subjects, split) for split in ("train", "validation", "test"))
    sizes = [max(2, round(fraction * train.stop)) for fraction in fractions]
    seen = predict.read_inputs(settings.network, dataset, test, digest)
    eta_pred = []
    for size in sizes:
        parts = slice(0, size), validation
        network, _ = level.train(
            settings.objective,
            [predict.read_inputs(settings.network, dataset, part, digest) for part in parts],
            parts,
            predict.for_subjects(settings, size, of=train.stop),
            seed=seed,
            checkpoint_dir=curve.with_suffix("") / "checkpoints" / code / str(size),
            workers=threads - 1,
        )
        eta_pred.append(predict.predict(network, seen))
    np.savez(
        curve,
        sizes=np.array(sizes),
        eta_pred=np.stack(eta_pred),
        noise_variance=np.array(noise_variance),
        predictor=np.array(predictor),
    )


if __name__ == "__main__":
    run(measure_learning_curve)
