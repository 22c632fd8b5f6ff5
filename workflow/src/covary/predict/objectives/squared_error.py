"""The objective `ebe_mse`: squared error of targets, such as empirical Bayes estimates."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from covary.predict.evidence import Targets


class MeanSquaredError(nn.Module):
    """Squared error of the targets. With empirical Bayes estimates (paper), predictions are shrunken too."""

    def forward(self, mean: Float[Tensor, "batch k"], evidence: Targets) -> Float[Tensor, " batch"]:
        """Squared error, averaged over random effects."""
        return (mean - torch.from_numpy(evidence.value).to(mean)).square().mean(dim=1)

    @torch.no_grad()
    def validate(self, mean: Float[Tensor, "subject k"], evidence: Targets) -> float:
        """Mean loss."""
        return self(mean, evidence).mean().item()
