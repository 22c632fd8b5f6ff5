"""Training of a predictor and its use."""

import copy
import math
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from covary.config import Predictor
from covary.predict.network import ResNet18
from covary.store import Images
from covary.store.loader import ImageLoader
from covary.training import (
    Checkpoint,
    History,
    choose_device,
    device_of,
    fingerprint,
    fixed_threads,
    mixed_precision,
    place,
    progress,
    seeded,
    to_unit_range,
)

_INFERENCE_BATCH = 256


@fixed_threads(1)
def train_predictor(
    images: UInt8[np.ndarray, "n h w"] | Images,
    targets: Float[np.ndarray, "n random_effect"],
    validation_images: UInt8[np.ndarray, "m h w"] | Images,
    validation_targets: Float[np.ndarray, "m random_effect"],
    config: Predictor,
    seed: int,
    checkpoint_dir: Path,
    workers: int = 0,
) -> tuple[ResNet18, pd.DataFrame]:
    """Minimise the mean squared error of the targets by AdamW; stop when validation no longer improves.

    What is validated and returned is a running average of the weights, which overfits weak associations far
    less than the weights themselves: that of the epoch with the least validation loss. Also returns one row
    an epoch: epoch, loss, validation_loss, best (whether this epoch was the best so far). Resumes as
    `train_vae` does. Workers read ahead if the images do not fit into `config.buffer_mb`. Raises ValueError
    if a target is not finite.
    """
    if not (np.isfinite(targets).all() and np.isfinite(validation_targets).all()):
        raise ValueError("targets of the predictor must be finite")
    device = choose_device()
    with seeded(seed, "predictor_weights"):
        network = ResNet18(targets.shape[1], config.width)
    # The mean of the targets is where an uninformed prediction belongs, so training starts there.
    torch.nn.init.zeros_(network.fc.weight)
    network.fc.bias.data = torch.from_numpy(targets.mean(axis=0)).float()
    network = place(network)
    best = copy.deepcopy(network)
    # diffusers' average covers parameters only; the statistics of batch normalisation must follow them.
    average = AveragedModel(network, avg_fn=partial(_average, config.ema_decay), use_buffers=True)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    identity = fingerprint(
        config, seed, _content(images), targets, _content(validation_images), validation_targets
    )
    checkpoint = Checkpoint(
        checkpoint_dir, identity, network=network, average=average, best=best, optimiser=optimiser
    )
    first_epoch, history = checkpoint.resume()
    loader = ImageLoader(
        images,
        batch_size=config.batch_size,
        buffer_images=config.buffer_mb * 10**6 // math.prod(images.shape[1:]),
        seed=seed,
        stream="predictor_order",
        workers=workers,
    )

    with progress(config.epochs, first_epoch, "train predictor (epochs)") as bar:
        for epoch in range(first_epoch, config.epochs):
            if _epochs_since_best(history) >= config.patience_epochs:
                break
            network.train()
            squared_errors = []
            for rows, batch in loader.batches(epoch):
                x = to_unit_range(batch, device)
                target = torch.from_numpy(targets[rows]).float().to(device)
                with mixed_precision(device):
                    loss = torch.nn.functional.mse_loss(network(x), target)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                average.update_parameters(network)
                squared_errors.append(loss.detach() * len(rows))
            validation_loss = float(
                np.square(predict(average.module, validation_images) - validation_targets).mean()
            )
            is_best = validation_loss < min((row["validation_loss"] for row in history), default=np.inf)
            if is_best:
                best.load_state_dict(average.module.state_dict())
            history.append(
                {
                    "epoch": epoch + 1,
                    "loss": (torch.stack(squared_errors).sum() / len(images)).item(),
                    "validation_loss": validation_loss,
                    "best": is_best,
                }
            )
            checkpoint.write(epoch + 1, history)
            bar.set_postfix(validation_loss=f"{validation_loss:.4f}", refresh=False)
            bar.update()
    checkpoint.discard()
    return best.eval(), pd.DataFrame(history)


@fixed_threads(1)
@torch.no_grad()
def predict(
    network: torch.nn.Module, images: UInt8[np.ndarray, "n h w"] | Images
) -> Float32[np.ndarray, "n random_effect"]:
    """eta_pred: the random effects that the network reads from grey images."""
    network.eval()
    device = device_of(network)
    batches = (images[i : i + _INFERENCE_BATCH] for i in range(0, len(images), _INFERENCE_BATCH))
    return torch.cat([network(to_unit_range(batch, device)) for batch in batches]).cpu().numpy()


def _content(images: UInt8[np.ndarray, "n h w"] | Images) -> UInt8[np.ndarray, "..."]:
    """What tells these images from others: the images, or the digest of those that are not in memory."""
    return images if isinstance(images, np.ndarray) else np.frombuffer(bytes.fromhex(images.digest), np.uint8)


def _average(decay: float, average: Tensor, value: Tensor, n_averaged: Tensor) -> Tensor:
    """A running average that starts fast; counts are copied."""
    if not value.dtype.is_floating_point:
        return value
    return average.lerp(value, 1 - min(decay, (1 + int(n_averaged)) / (10 + int(n_averaged))))


def _epochs_since_best(history: History) -> int:
    return next((i for i, row in enumerate(reversed(history)) if row["best"]), len(history))
