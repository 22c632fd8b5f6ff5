"""The epochs of a training: a running average of the weights, the best of its states, and an early end."""

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from covary.config.predictors import Predictor
from covary.jobs.progress import progress
from covary.predict.examples import Inputs
from covary.training.checkpoint import Checkpoint, History, Stateful
from covary.training.loader import ImageLoader
from covary.training.schedule import epoch_schedule

Step = Callable[[Int64[np.ndarray, " batch"], np.ndarray, int], Mapping[str, Tensor]]


def train_epochs(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    inputs: Inputs,
    step: Step,
    validate: Callable[[nn.Module], float | None],
    config: Predictor,
    checkpoint: Callable[..., Checkpoint],
    *,
    seed: int,
    stream: str,
    label: str,
    workers: int = 0,
    begin: Callable[[int], None] = lambda epoch: None,
    **parts: Stateful,
) -> tuple[nn.Module, pd.DataFrame]:
    """Minimise the loss of `step` over the epochs of `config`; return the best state of the network.

    `step(rows, batch, number)` gives the mean losses of one batch of inputs, and has "loss" among them, which
    is minimised. `number` counts the batches of the training. `begin` is given the number of each epoch, from
    0 on, before its first step. `validate` is given the running average of the network after each epoch. Its
    loss decides which average is the best, and when the training stops. Where it returns None, the last epoch
    is the best.

    Also returns a table with one row per epoch: epoch, the losses of `step`, validation_loss if there is one,
    best (whether this epoch was the best so far). `checkpoint` makes the checkpoint of the training
    from what it must hold: the network and its averages, the optimiser, and `parts`, which are other modules
    and optimisers that `step` changes. A training that was killed continues from its checkpoint. One that has
    ended before is read from it. The order of batches is drawn from (seed, `stream`). If the inputs do not
    fit into `config.buffer_mb`, `workers` processes read ahead.

    Raises UserError if a batch would hold one subject, or if a loss is not finite.
    """
    best = copy.deepcopy(network)
    # With `use_buffers`, the statistics of batch normalisation are averaged like the weights.
    average = AveragedModel(
        network, multi_avg_fn=partial(_average_weights, config.ema_decay), use_buffers=True
    )
    rate = epoch_schedule(optimiser, config.learning_rate_schedule, config.epochs)
    state = checkpoint(network=network, average=average, best=best, optimiser=optimiser, rate=rate, **parts)
    if (ended := state.finished(best=best)) is not None:
        return best.eval(), pd.DataFrame(ended)
    first_epoch, history = state.resume()
    loader = ImageLoader(
        inputs,
        batch_size=config.batch_size,
        buffer_images=config.buffer_mb * 10**6 // math.prod(inputs.shape[1:]),
        seed=seed,
        stream=stream,
        workers=workers,
    )
    with progress(config.epochs, first_epoch, label) as bar:
        for epoch in range(first_epoch, config.epochs):
            if _epochs_since_best(history) >= config.patience_epochs:
                break
            begin(epoch)
            network.train()
            sums: dict[str, list[Tensor]] = defaultdict(list)
            passes = range(epoch * config.passes, (epoch + 1) * config.passes)
            batches = chain.from_iterable(map(loader.batches, passes))
            for number, (rows, batch) in enumerate(batches, epoch * config.passes * len(loader)):
                losses = step(rows, batch, number)
                optimiser.zero_grad(set_to_none=True)
                losses["loss"].backward()
                nn.utils.clip_grad_norm_(network.parameters(), config.max_gradient_norm)
                optimiser.step()
                average.update_parameters(network)
                for name, loss in losses.items():
                    sums[name].append(loss.detach() * len(rows))
            rate.step()
            seen = len(inputs) * config.passes
            row = {"epoch": epoch + 1}
            row |= {name: (torch.stack(values).sum() / seen).item() for name, values in sums.items()}
            validation_loss = validate(average.module)
            is_best = True
            if validation_loss is not None:
                is_best = validation_loss < min((r["validation_loss"] for r in history), default=np.inf)
                row["validation_loss"] = validation_loss
                bar.set_postfix(validation_loss=f"{validation_loss:.4f}", refresh=False)
            if is_best:
                best.load_state_dict(average.module.state_dict())
            history.append(row | {"best": is_best})
            state.write(epoch + 1, history)
            bar.update()
    state.finish(history, best=best)
    return best.eval(), pd.DataFrame(history)


@torch.no_grad()
def _average_weights(decay: float, averages: list[Tensor], values: list[Tensor], n_averaged: Tensor) -> None:
    """Running average of tensors of one type, with a smaller decay at first. Integers are copied."""
    weight = 1 - min(decay, (1 + int(n_averaged)) / (10 + int(n_averaged)))
    if averages[0].is_floating_point():
        torch._foreach_lerp_(averages, values, weight)
    else:
        torch._foreach_copy_(averages, values)


def _epochs_since_best(history: History) -> int:
    """Epochs after the last one that was the best so far."""
    return next((i for i, row in enumerate(reversed(history)) if row["best"]), len(history))
