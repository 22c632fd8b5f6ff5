"""Train the network that sees eta itself, for each objective; use it on eta and on eta read from images."""

from pathlib import Path

from covary import predict, store
from covary.dataset import names
from covary.dataset.groups import write_predictions
from covary.dataset.scenario import Scenario
from covary.dataset.subjects import members
from covary.jobs.run import run
from covary.records.study import Study


def train_oracle(
    dataset: Path,
    noise_variance: float | None,
    model: str,
    objectives: dict[str, str],
    networks: list[str],
    parameters: Path,
    posteriors: list[Path],
    markers: list[Path],
    checkpoints: Path,
    seed: int,
    code: str,
) -> None:
    """Write one group of predictions per objective; `objectives` says which structure V has."""
    scenario = Scenario(noise_variance)
    level = predict.Level(dataset, scenario, Study.of(dataset, model), parameters, posteriors)
    subjects = store.read(dataset, names.SUBJECTS)
    train, validation, test = (members(subjects, split) for split in ("train", "validation", "test"))
    config = predict.for_subjects(predict.ORACLE, train.stop, of=min(train.stop, predict.ORACLE_SUBJECTS))
    eta = subjects["eta"].values
    eta_read = {name: store.read(dataset, names.readings(name))["eta_read"].values for name in networks}
    for (objective, covariance), marker in zip(objectives.items(), markers, strict=True):
        oracle = names.oracle(objective)
        trained, _ = level.train(
            objective,
            (eta[train], eta[validation]),
            (train, validation),
            config.model_copy(update={"covariance": covariance}),
            seed=seed,
            checkpoint_dir=checkpoints / oracle / code,
        )
        predictions = {"eta_pred": predict.predict(trained, eta[test])} | {
            names.pred_read(name): predict.predict(trained, values) for name, values in eta_read.items()
        }
        group = names.predictions(scenario.name, oracle)
        write_predictions(
            dataset, group, test, predictions, marker, code, covariance=predict.covariance_of(trained)
        )


if __name__ == "__main__":
    run(train_oracle)
