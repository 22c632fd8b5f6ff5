"""Train the network on the noise-free random effects and read those of every test subject from its image."""

from pathlib import Path

from covary import predict, store
from covary.config.predictors import Predictor
from covary.dataset import names
from covary.dataset.groups import write_predictions
from covary.dataset.subjects import members
from covary.jobs.run import run


def train_reader(
    dataset: Path,
    network: str,
    settings: Predictor,
    images: Path,
    weights: Path,
    history: Path,
    marker: Path,
    seed: int,
    threads: int,
    code: str,
) -> None:
    """Save the reader beside its history, and write what it reads."""
    subjects = store.read(dataset, names.SUBJECTS)
    splits = [members(subjects, split) for split in ("train", "validation", "test")]
    inputs = [predict.read_inputs(settings.network, dataset, part, images) for part in splits]
    targets = [predict.Targets(subjects["eta"][part].values) for part in splits]
    reader, losses = predict.train_predictor(
        *map(predict.Examples, inputs[:2], targets[:2]),
        predict.MeanSquaredError(),
        settings,
        seed=seed,
        checkpoint_dir=weights.parent / "checkpoints" / code,
        workers=threads - 1,
    )
    reader.save(weights.parent)
    losses.to_csv(history, index=False)
    eta_read = {"eta_read": predict.predict(reader, inputs[2])}
    write_predictions(dataset, names.readings(network), splits[2], eta_read, marker, code)


if __name__ == "__main__":
    run(train_reader)
