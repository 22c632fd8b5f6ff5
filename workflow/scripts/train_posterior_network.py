"""Train a posterior network on simulations of the study, from a fitted population."""

from pathlib import Path

from covary import nlme
from covary.amortised.problem import EngineSimulator
from covary.amortised.store import save
from covary.amortised.train import Training, train
from covary.config.inference import PosteriorNetwork
from covary.config.visits import Missing
from covary.jobs.run import run
from covary.records.study import Study


def train_posterior_network(
    dataset: Path,
    model: str,
    model_file: list[Path],
    missing: list[Missing],
    parameters: Path,
    settings: PosteriorNetwork,
    blind: bool,
    network: Path,
    history: Path,
    seed: int,
) -> None:
    """Write the network and its training curve.

    A network that is `blind` is trained on complete records, and is given the mean at a missing visit.
    """
    study, fitted = Study.of(dataset, model), parameters.read_text(encoding="utf-8")
    simulator = EngineSimulator(
        study.model,
        nlme.parameters_from_json(fitted),
        study.design,
        [] if blind else missing,
        settings.prior_width,
    )
    encoding = "insert" if blind else settings.encoding
    training = Training(
        encoding=encoding,
        constant=0.0 if blind else -5.0,  # of `insert`, in standard units: 0 is the mean
        summary="set" if encoding == "time_labels" else "dense",
        layers=settings.layers,
        width=settings.width,
        batch=settings.batch_size,
        steps=settings.steps,
        rounds=settings.control_rounds if blind else settings.rounds,
        learning_rate=settings.learning_rate,
        patience=settings.patience_rounds,
    )
    identity = f"{model}/{fitted}/{[file.read_text(encoding='utf-8') for file in model_file]}"
    trained, rounds = train(
        simulator, training, seed=seed, folder=network.parent / "checkpoint", identity=identity
    )
    save(network, trained, training, simulator.factor)
    rounds.to_csv(history, index=False)


if __name__ == "__main__":
    run(train_posterior_network)
