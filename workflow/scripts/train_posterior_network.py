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
    training = Training.of(settings, blind=blind)
    identity = f"{model}/{fitted}/{[file.read_text(encoding='utf-8') for file in model_file]}"
    trained, rounds = train(
        simulator, training, seed=seed, folder=network.parent / "checkpoint", identity=identity
    )
    save(network, trained, training, simulator.factor)
    rounds.to_csv(history, index=False)


if __name__ == "__main__":
    run(train_posterior_network)
