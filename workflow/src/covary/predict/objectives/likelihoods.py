"""Likelihoods of values that are known: of numbers (normal) and of classes (categorical), in nats.

The loss of a network with random effects of sites is a bound on a likelihood. Its parts have to be in one
unit.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from covary.predict.evidence import Rows, Targets

_MEMORY_SUBJECTS = 2000  # the residual variance is averaged over about this many


class NormalLikelihood(nn.Module):
    """-log N(target; mean, v), less a constant, with the residual variance v of each target.

    v is a running average of squared errors, its maximum-likelihood estimate.
    """

    def __init__(self, targets: int):
        super().__init__()
        self.register_buffer("variance", torch.ones(targets))
        self.register_buffer("seen", torch.tensor(False))

    def forward(self, mean: Float[Tensor, "batch k"], evidence: Targets) -> Float[Tensor, " batch"]:
        """The loss of each subject."""
        error = (mean - torch.from_numpy(evidence.value).to(mean)).square()
        with torch.no_grad():
            weight = min(1.0, len(mean) / _MEMORY_SUBJECTS) if self.seen else 1.0
            self.variance.lerp_(error.mean(dim=0).clamp(min=1e-8), weight)
            self.seen.fill_(True)
        return 0.5 * (error / self.variance + self.variance.log()).sum(dim=1)

    @torch.no_grad()
    def validate(self, mean: Float[Tensor, "subject k"], evidence: Targets) -> float:
        """Mean loss with the variance of these errors."""
        error = (mean - torch.from_numpy(evidence.value).to(mean)).square().mean(dim=0)
        return (0.5 * (1 + error.log()).sum()).item()


class Classes:
    """Classes to predict, as numbers 0 … n - 1."""

    def __init__(self, value: Int[np.ndarray, " subject"], classes: int):
        self.value, self.classes = value, classes

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, subjects: Rows) -> "Classes":
        return Classes(self.value[subjects], self.classes)

    def guess(self) -> Float[np.ndarray, "subject k"]:
        """Log odds of each class against the first one, equal for all subjects."""
        shares = np.bincount(self.value, minlength=self.classes) + 1.0
        return np.tile(np.log(shares[1:] / shares[0]), (len(self), 1))

    def arrays(self) -> list[np.ndarray]:
        """What identifies the evidence."""
        return [self.value]


class CategoricalLikelihood(nn.Module):
    """-log p(class); the network gives the log odds of each class against the first one."""

    def forward(self, mean: Float[Tensor, "batch k"], evidence: Classes) -> Float[Tensor, " batch"]:
        """The loss of each subject."""
        classes = torch.from_numpy(evidence.value).to(mean.device)
        return nn.functional.cross_entropy(with_first(mean), classes, reduction="none")

    @torch.no_grad()
    def validate(self, mean: Float[Tensor, "subject k"], evidence: Classes) -> float:
        """Mean loss."""
        return self(mean, evidence).mean().item()


def with_first(log_odds: Float[Tensor, "batch k"]) -> Float[Tensor, "batch class"]:
    """Logits of all classes; that of the first is 0."""
    return nn.functional.pad(log_odds, (1, 0))
