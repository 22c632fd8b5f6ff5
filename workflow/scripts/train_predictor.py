"""Train one network at one noise level, and predict every test subject from the image alone."""

from pathlib import Path

from covary import predict, store
from covary.config.predictors import Predictor
from covary.dataset import names
from covary.dataset.groups import write_predictions
from covary.dataset.scenario import Scenario
from covary.dataset.subjects import members
from covary.jobs.run import run
from covary.records.study import Study


def train_predictor(
    dataset: Path,
    noise_variance: float | None,
    predictor: str,
    model: str,
    settings: Predictor,
    images: Path,
    parameters: Path,
    posteriors: list[Path],
    weights: Path,
    history: Path,
    marker: Path,
    seed: int,
    threads: int,
    code: str,
) -> None:
    """Save the network beside its history, and write its predictions."""
    scenario = Scenario(noise_variance)
    level = predict.Level(dataset, scenario, Study.of(dataset, model), parameters, posteriors)
    subjects = store.read(dataset, names.SUBJECTS)
    *parts, test = (members(subjects, split) for split in ("train", "validation", "test"))
    inputs = [predict.read_inputs(settings.network, dataset, part, images) for part in (*parts, test)]
    network, losses = level.train(
        settings.objective,
        inputs[:2],
        parts,
        settings,
        seed=seed,
        checkpoint_dir=weights.parent / "checkpoints" / code,
        workers=threads - 1,
    )
    network.save(weights.parent)
    losses.to_csv(history, index=False)
    group = names.predictions(scenario.name, predictor)
    eta_pred = {"eta_pred": predict.predict(network, inputs[2])}
    write_predictions(dataset, group, test, eta_pred, marker, code, covariance=predict.covariance_of(network))


if __name__ == "__main__":
    run(train_predictor)
