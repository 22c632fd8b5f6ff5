"""Training of a predictor and its use."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from covary.config.predictors import Predictor
from covary.errors import UserError
from covary.predict.epochs import train_epochs
from covary.predict.examples import Examples, Inputs, content, to_input
from covary.predict.network import PredictorNetwork, source_of
from covary.predict.start import start_from
from covary.training.checkpoint import Checkpoint, fingerprint
from covary.training.device import choose_device, device_of, fixed_threads, mixed_precision, place
from covary.training.draws import seeded
from covary.training.shipped import content_of

_INFERENCE_BATCH = 256


@fixed_threads(1)
def train_predictor(
    train: Examples,
    validation: Examples,
    objective: nn.Module,
    config: Predictor,
    seed: int,
    checkpoint_dir: Path,
    workers: int = 0,
) -> tuple[PredictorNetwork, pd.DataFrame]:
    """Minimise the objective by AdamW; stop when validation no longer improves.

    A running average of the weights is validated, because it overfits weak associations far less than the
    weights themselves. The average of the epoch with the least validation loss is returned.

    Also returns a table with one row per epoch: epoch, loss, validation_loss, best (whether this epoch was
    the best so far). A training that was killed continues from its last checkpoint, as `train_vae` does. One
    that has ended before with the same examples and settings is read from `checkpoint_dir`. If the images do
    not fit into `config.buffer_mb`, `workers` processes read ahead.

    Raises UserError if there are fewer training subjects than one batch, a subject without evidence, the
    network cannot be made or does not fit, or `config.start` is not a start for it.
    """
    if len(train) < config.batch_size:
        raise UserError(
            f"predictors.batch_size: must be at most the number of training subjects, {len(train)}, "
            f"got {config.batch_size}"
        )
    guess = train.evidence.guess()
    for part, numbers in (("training", guess), ("validation", validation.evidence.guess())):
        if unknown := np.flatnonzero(~np.isfinite(numbers).all(axis=1)).tolist():
            raise UserError(
                f"predictor: {len(unknown)} of {len(numbers)} {part} subjects have no estimate of their "
                f"random effects; the first is number {unknown[0]} of the split"
            )
    device = choose_device()
    with seeded(seed, "predictor_weights"):
        shape = train.inputs.shape
        channels = shape[1] if len(shape) == 4 else 1
        network = PredictorNetwork(config.network, guess.shape[1], shape[-1], config.width, channels)
    if config.start is not None:
        start_from(network, config, shape[-1], channels)
    # Without information from the image the best prediction is the mean of the estimates. Start there.
    network.start_at(torch.from_numpy(guess.mean(axis=0)))
    network = place(network)
    objective = objective.to(device)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )

    def step(rows: Int64[np.ndarray, " batch"], batch: np.ndarray, _: int) -> dict[str, Tensor]:
        with mixed_precision(device):
            mean = network(to_input(batch, device))
        return {"loss": objective(mean.float(), train.evidence[rows]).mean()}

    def validate(average: nn.Module) -> float:
        predicted = torch.from_numpy(predict(average, validation.inputs)).to(device)
        return objective.validate(predicted, validation.evidence)

    parts = [
        array
        for examples in (train, validation)
        for array in (content(examples.inputs), *examples.evidence.arrays())
    ]
    identity = fingerprint(config, seed, *parts, source_of(config.network), content_of(config.start))
    return train_epochs(
        network,
        optimiser,
        train.inputs,
        step,
        validate,
        config,
        partial(Checkpoint, checkpoint_dir, identity),
        seed=seed,
        stream="predictor_order",
        label="train predictor (epochs)",
        workers=workers,
        objective=objective,
    )


@fixed_threads(1)
@torch.no_grad()
def predict(network: nn.Module, inputs: Inputs) -> Float32[np.ndarray, "n random_effect"]:
    """eta_pred: the random effects that the network reads from images, or from features."""
    network.eval()
    device = device_of(network)
    batches = (inputs[i : i + _INFERENCE_BATCH] for i in range(0, len(inputs), _INFERENCE_BATCH))
    return torch.cat([network(to_input(batch, device)) for batch in batches]).float().cpu().numpy()
