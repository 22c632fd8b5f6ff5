"""Training of a predictor and its use."""

import copy
import math
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from covary.config.predictors import Predictor
from covary.errors import UserError
from covary.jobs.progress import progress
from covary.predict.examples import Examples, Inputs, content, to_input
from covary.predict.network import PredictorNetwork, source_of
from covary.training.checkpoint import Checkpoint, History, fingerprint
from covary.training.device import choose_device, device_of, fixed_threads, mixed_precision, place
from covary.training.draws import seeded
from covary.training.loader import ImageLoader
from covary.training.schedule import epoch_schedule

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

    Raises UserError if there are fewer training subjects than one batch, a subject without evidence, or the
    network cannot be made or does not fit.
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
        network = PredictorNetwork(
            config.network, guess.shape[1], shape[-1], config.width, shape[1] if len(shape) == 4 else 1
        )
    # Without information from the image the best prediction is the mean of the estimates. Start there.
    network.start_at(torch.from_numpy(guess.mean(axis=0)))
    network = place(network)
    objective = objective.to(device)
    best = copy.deepcopy(network)
    # With `use_buffers`, the statistics of batch normalisation are averaged like the weights.
    average = AveragedModel(
        network, multi_avg_fn=partial(average_weights, config.ema_decay), use_buffers=True
    )
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    rate = epoch_schedule(optimiser, config.learning_rate_schedule, config.epochs)
    parts = [
        array
        for examples in (train, validation)
        for array in (content(examples.inputs), *examples.evidence.arrays())
    ]
    checkpoint = Checkpoint(
        checkpoint_dir,
        fingerprint(config, seed, *parts, source_of(config.network)),
        network=network,
        average=average,
        best=best,
        objective=objective,
        optimiser=optimiser,
        rate=rate,
    )
    if (ended := checkpoint.finished(best=best)) is not None:
        return best.eval(), pd.DataFrame(ended)
    first_epoch, history = checkpoint.resume()
    bytes_each = math.prod(train.inputs.shape[1:])
    loader = ImageLoader(
        train.inputs,
        batch_size=config.batch_size,
        buffer_images=config.buffer_mb * 10**6 // bytes_each,
        seed=seed,
        stream="predictor_order",
        workers=workers,
    )

    with progress(config.epochs, first_epoch, "train predictor (epochs)") as bar:
        for epoch in range(first_epoch, config.epochs):
            if epochs_since_best(history) >= config.patience_epochs:
                break
            network.train()
            losses = []
            passes = range(epoch * config.passes, (epoch + 1) * config.passes)
            for rows, batch in chain.from_iterable(map(loader.batches, passes)):
                with mixed_precision(device):
                    mean = network(to_input(batch, device))
                loss = objective(mean.float(), train.evidence[rows]).mean()
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), config.max_gradient_norm)
                optimiser.step()
                average.update_parameters(network)
                losses.append(loss.detach() * len(rows))
            rate.step()
            predicted = torch.from_numpy(predict(average.module, validation.inputs)).to(device)
            validation_loss = objective.validate(predicted, validation.evidence)
            is_best = validation_loss < min((row["validation_loss"] for row in history), default=np.inf)
            if is_best:
                best.load_state_dict(average.module.state_dict())
            history.append(
                {
                    "epoch": epoch + 1,
                    "loss": (torch.stack(losses).sum() / (len(train) * config.passes)).item(),
                    "validation_loss": validation_loss,
                    "best": is_best,
                }
            )
            checkpoint.write(epoch + 1, history)
            bar.set_postfix(validation_loss=f"{validation_loss:.4f}", refresh=False)
            bar.update()
    checkpoint.finish(history, best=best)
    return best.eval(), pd.DataFrame(history)


@fixed_threads(1)
@torch.no_grad()
def predict(network: nn.Module, inputs: Inputs) -> Float32[np.ndarray, "n random_effect"]:
    """eta_pred: the random effects that the network reads from images, or from features."""
    network.eval()
    device = device_of(network)
    batches = (inputs[i : i + _INFERENCE_BATCH] for i in range(0, len(inputs), _INFERENCE_BATCH))
    return torch.cat([network(to_input(batch, device)) for batch in batches]).float().cpu().numpy()


@torch.no_grad()
def average_weights(decay: float, averages: list[Tensor], values: list[Tensor], n_averaged: Tensor) -> None:
    """Running average of tensors of one type, with a smaller decay at first. Integers are copied."""
    weight = 1 - min(decay, (1 + int(n_averaged)) / (10 + int(n_averaged)))
    if averages[0].is_floating_point():
        torch._foreach_lerp_(averages, values, weight)
    else:
        torch._foreach_copy_(averages, values)


def epochs_since_best(history: History) -> int:
    """Epochs after the last one that was the best so far."""
    return next((i for i, row in enumerate(reversed(history)) if row["best"]), len(history))
