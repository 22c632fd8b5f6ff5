"""Train a network that infers random effects and residual errors, from where the population fit starts."""

from pathlib import Path

from covary.amortised.fit import PopulationSimulator
from covary.amortised.store import save
from covary.amortised.train import Training, train
from covary.config.inference import PosteriorNetwork
from covary.config.records import PopulationFit
from covary.config.visits import Missing
from covary.jobs.run import run
from covary.records.study import Study


def train_population_network(
    dataset: Path,
    model: str,
    model_file: list[Path],
    missing: list[Missing],
    fit: PopulationFit,
    settings: PosteriorNetwork,
    network: Path,
    history: Path,
    seed: int,
) -> None:
    """Write the network and its training curve."""
    study = Study.of(dataset, model)
    initial = study.initial(fit)
    simulator = PopulationSimulator(study.model, initial, study.design, missing, fit.prior_width)
    training = Training.of(settings)
    identity = f"{model}/{initial}/{fit.prior_width}"
    identity += f"/{[file.read_text(encoding='utf-8') for file in model_file]}"
    trained, rounds = train(
        simulator, training, seed=seed, folder=network.parent / "checkpoint", identity=identity
    )
    save(network, trained, training, simulator.factor)
    rounds.to_csv(history, index=False)


if __name__ == "__main__":
    run(train_population_network)
