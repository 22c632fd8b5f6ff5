"""LMMNN: a network and random intercepts of sites, by the likelihood of a linear mixed model.

Simchoni and Rosset, NeurIPS 2021 and JMLR 24 (2023). With residuals r = y - f(x), a batch has the covariance
V = σ²_b ZZ' + σ²_e I. The loss is -log N(r; 0, V); predictions of random intercepts are
b̂ = σ²_b Z'V⁻¹r over all training subjects. V has one block per site, so both are sums over sites.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn


class LmmnnEffects(nn.Module):
    """Random intercepts with two variances per output, which are trained with the network."""

    def __init__(self, sites: int, outputs: int):
        super().__init__()
        self.log_residual = nn.Parameter(torch.zeros(outputs))
        self.log_between = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("intercept", torch.zeros(sites, outputs))
        self.register_buffer("intercept_variance", torch.ones(sites, outputs))

    def forward(
        self, fixed: Float[Tensor, "batch k"], site: Float[Tensor, "batch site"]
    ) -> Float[Tensor, "batch k"]:
        """The prediction with the intercepts, for sites given as one-hot rows or as probabilities."""
        return fixed + site @ self.intercept

    def loss(self, residual: Float[Tensor, "batch k"], site: Int64[Tensor, " batch"]) -> Float[Tensor, ""]:
        """-log N(r; 0, V) of a batch, less a constant, per subject."""
        number, total = self._sums(residual, site)
        within, between = self.log_residual.exp(), self.log_between.exp()
        of_mean = within + number * between
        squares = residual.square().sum(dim=0) / within - (between / (within * of_mean) * total.square()).sum(
            0
        )
        log_determinant = (len(residual) - (number > 0).sum()) * self.log_residual
        log_determinant = log_determinant + of_mean.log().where(number > 0, 0).sum(dim=0)
        return 0.5 * (squares + log_determinant).sum() / len(residual)

    @torch.no_grad()
    def predict_intercepts(
        self, residual: Float[Tensor, "subject k"], site: Int64[Tensor, " subject"]
    ) -> None:
        """Keep the best linear unbiased predictions of the intercepts, given all training residuals."""
        number, total = self._sums(residual, site)
        within, between = self.log_residual.exp(), self.log_between.exp()
        of_mean = within + number * between
        self.intercept.copy_(between * total / of_mean)
        self.intercept_variance.copy_(between * within / of_mean)

    def _sums(
        self, residual: Float[Tensor, "batch k"], site: Int64[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "site 1"], Float[Tensor, "site k"]]:
        number = torch.bincount(site, minlength=len(self.intercept)).to(residual)[:, None]
        return number, torch.zeros_like(self.intercept).index_add(0, site, residual)
