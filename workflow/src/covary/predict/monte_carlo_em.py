"""Monte Carlo EM: random intercepts and slopes of sites, drawn from their exact posterior given the network.

MeNets: Xiong, Kim and Singh, CVPR 2019. Output by output, a subject at site c has

    y = f(x) + Γ(x)'U_c + ε,   Γ = (1, h - h̄),   U_c ~ N(0, D),   ε ~ N(0, σ_e²),

with the network f, its last hidden layer h, and a diagonal D: σ_p² of the intercept and σ_p² of the slopes.

E-step, before each epoch: given the network, residuals r = y - f(x) are linear in U_c with normal errors. So
the posterior is normal, with precision Γ_c'Γ_c/σ_e² + D⁻¹ and mean m_c = (Γ_c'Γ_c/σ_e² + D⁻¹)⁻¹ Γ_c'r_c/σ_e².
Draws come from it directly. They are exact and need no Markov chain.

M-step: D and σ_e² are mean squares over the draws. Then the network is trained for one epoch by the mean
over the draws of the squared errors in σ_e². The mean of m_c over the sites is a fixed effect. It is taken
from the draws, and the network learns it: parameter expansion (Liu, Rubin and Wu, Biometrika 85(4), 1998).
Without it, the network would have to wait until the prior has shrunk what is common to the sites.
"""

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

DRAWS = 16
_LEAST_VARIANCE = 1e-8


class MonteCarloEffects(nn.Module):
    """Random intercepts and slopes. The first of the weights is the intercept, the others are the slopes."""

    def __init__(self, sites: int, features: int, outputs: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("intercept_prior", torch.ones(outputs))
        self.register_buffer("slope_prior", torch.full((outputs,), 1 / features))  # together as an intercept
        self.register_buffer("residual_variance", torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(sites, 1 + features, outputs))
        self.register_buffer("intercept_variance", torch.ones(sites, outputs))
        # Of one epoch only, so they are neither saved nor averaged.
        self.draws: Float[Tensor, "draw site weight output"] | None = None

    def forward(
        self,
        fixed: Float[Tensor, "batch k"],
        h: Float[Tensor, "batch feature"],
        site: Float[Tensor, "batch site"],
    ) -> Float[Tensor, "batch k"]:
        """The prediction with the posterior means, for sites given as one-hot rows or as probabilities."""
        weights = torch.einsum("bc,cwk->bwk", site, self.mean)
        return fixed + torch.einsum("bw,bwk->bk", self._gamma(h), weights)

    def loss(
        self,
        residual: Float[Tensor, "batch k"],
        h: Float[Tensor, "batch feature"],
        site: Int64[Tensor, " batch"],
    ) -> Float[Tensor, ""]:
        """-log N(y; f + Γ'U, σ_e²) of a batch, less a constant, per subject, averaged over the draws."""
        assert self.draws is not None
        of_site = torch.einsum("bw,dbwk->dbk", self._gamma(h), self.draws[:, site])
        squares = (residual - of_site).square().mean(dim=(0, 1))
        return 0.5 * (squares / self.residual_variance + self.residual_variance.log()).sum()

    @torch.no_grad()
    def condition(
        self,
        residual: Float[Tensor, "subject k"],
        h: Float[Tensor, "subject feature"],
        site: Int64[Tensor, " subject"],
    ) -> tuple[Float64[Tensor, "site k weight"], Float64[Tensor, "site k weight weight"]]:
        """Keep the posterior means given all training subjects.

        Returns the means and the Cholesky factors of the posterior precisions.
        """
        self.centre.copy_(h.mean(dim=0))
        gamma = self._gamma(h).double()
        own = [site == c for c in range(len(self.mean))]
        squares = torch.stack([gamma[rows].T @ gamma[rows] for rows in own])
        products = torch.stack([residual[rows].double().T @ gamma[rows] for rows in own])
        within = self.residual_variance.double()
        precision = squares[:, None] / within[:, None, None] + torch.diag_embed(1 / self._prior())
        factor = torch.linalg.cholesky(precision)
        mean = torch.cholesky_solve((products / within[:, None])[..., None], factor)[..., 0]
        self.mean.copy_(mean.transpose(1, 2))
        self.intercept_variance.copy_(torch.cholesky_inverse(factor)[..., 0, 0])
        return mean, factor

    @torch.no_grad()
    def draw(
        self,
        residual: Float[Tensor, "subject k"],
        h: Float[Tensor, "subject feature"],
        site: Int64[Tensor, " subject"],
        generator: torch.Generator,
    ) -> None:
        """Draw all random effects given all training subjects, and update their variances and σ_e²."""
        mean, factor = self.condition(residual, h, site)
        deviations = posterior_deviations(factor, DRAWS, generator)
        errors = residual - torch.einsum(
            "bw,dbkw->dbk", self._gamma(h).double(), (mean + deviations)[:, site]
        )
        centred = mean - mean.mean(dim=0) + deviations
        self.intercept_prior.copy_(centred[..., 0].square().mean(dim=(0, 1)))
        self.slope_prior.copy_(centred[..., 1:].square().mean(dim=(0, 1, 3)))
        self.residual_variance.copy_(errors.square().mean(dim=(0, 1)).clamp(min=_LEAST_VARIANCE))
        self.draws = centred.transpose(2, 3).to(self.mean)

    def _gamma(self, h: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch weight"]:
        return nn.functional.pad(h - self.centre, (1, 0), value=1.0)

    def _prior(self) -> Float64[Tensor, "k weight"]:
        """The diagonal of D for each output."""
        slopes = self.slope_prior[:, None].expand(-1, len(self.centre))
        return torch.cat([self.intercept_prior[:, None], slopes], dim=1).double().clamp(min=_LEAST_VARIANCE)


def posterior_deviations(
    factor: Float64[Tensor, "site k weight weight"], number: int, generator: torch.Generator
) -> Float64[Tensor, "draw site k weight"]:
    """Draws of N(0, A⁻¹), where `factor` is the lower Cholesky factor L of the precision A: L'u = noise."""
    noise = torch.randn((number, *factor.shape[:-1]), generator=generator, dtype=factor.dtype)
    noise = noise.to(factor.device)[..., None]
    return torch.linalg.solve_triangular(factor.mT, noise, upper=True)[..., 0]
