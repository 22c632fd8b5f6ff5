"""How the learning rate changes from epoch to epoch."""

from typing import Literal

import torch


def epoch_schedule(
    optimiser: torch.optim.Optimizer, kind: Literal["cosine", "constant"], epochs: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """What the learning rate is multiplied by, epoch by epoch: cosine falls from 1 towards 0."""
    if kind == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=epochs)
    return torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)
