"""ARMED: a network with fixed effects, an adversary and random effects of sites.

Nguyen, Treacher and Montillo, IEEE TPAMI 45(7):8081-8093 (2023). The network's prediction η_F has no site
in it, because an adversary takes the site out of its hidden layers. The mixed-effects prediction of a
subject at site z is

    η_M = η_F + u(z) + (h - h̄)' U(z)

with random intercepts u and random slopes U on the last hidden layer h. Both come from one pass. Where the
site is not one of the training sites, z holds the probabilities that a separately trained classifier gives
to the training sites. Here the scale σ_p of the random effects is learned; the paper fixes it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from covary.config.site_methods import Effects
from covary.predict.adversary import observe
from covary.predict.lmmnn import LmmnnEffects
from covary.predict.monte_carlo_em import MonteCarloEffects
from covary.predict.network import IMAGE, PredictorNetwork, input_of
from covary.training.modules import SavedModule

_LEAST_SD = 1e-5  # of a random effect's posterior
_FIRST_INTERCEPT, _FIRST_SLOPE, _FIRST_SD = 0.1, 0.3, 0.05
_CENTRE_WEIGHT = 0.01  # of a batch in the running mean of the last hidden layer


class Outputs(NamedTuple):
    """One pass of a network with site effects; `last` is the last hidden layer."""

    fixed: Float[Tensor, "batch k"]
    mixed: Float[Tensor, "batch k"]
    hidden: Float[Tensor, "batch activation"]
    last: Float[Tensor, "batch feature"]


class Normal(nn.Module):
    """Independent normal posteriors q(U) of weights, one row per site, under a prior N(0, σ_p²).

    σ_p is common to all weights of one output and has its best value, σ_p² = mean(m² + s²), at every step.
    """

    def __init__(self, sites: int, weights: int, outputs: int, first: float):
        super().__init__()
        self.m = nn.Parameter(first * torch.randn(sites, weights, outputs))
        rho = np.log(np.expm1(_FIRST_SD))
        self.rho = nn.Parameter(torch.full((sites, weights, outputs), float(rho)))

    def s(self) -> Float[Tensor, "site weight output"]:
        """Posterior standard deviations."""
        return _LEAST_SD + nn.functional.softplus(self.rho)

    def draw(self, generator: torch.Generator | None) -> Float[Tensor, "site weight output"]:
        """One draw of all weights, or their posterior means if there is no generator."""
        if generator is None:
            return self.m
        noise = torch.randn(self.m.shape, generator=generator, dtype=self.m.dtype)
        return self.m + self.s() * noise.to(self.m.device)

    def prior_variance(self) -> Float[Tensor, " output"]:
        """σ_p², the minimiser of the divergence."""
        return (self.m.square() + self.s().square()).mean(dim=(0, 1))

    def divergence(self) -> Float[Tensor, ""]:
        """KL(q ‖ p) of all weights, in nats, with σ_p at its minimiser: Σ log(σ_p/s)."""
        per_output = self.m.shape[0] * self.m.shape[1]
        return 0.5 * per_output * self.prior_variance().log().sum() - self.s().log().sum()


class VariationalEffects(nn.Module):
    """Random intercepts and random slopes on the last hidden layer, with mean-field posteriors."""

    def __init__(self, sites: int, features: int, outputs: int):
        super().__init__()
        self.intercepts = Normal(sites, 1, outputs, _FIRST_INTERCEPT)
        self.slopes = Normal(sites, features, outputs, _FIRST_SLOPE)
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("seen", torch.tensor(False))

    def forward(
        self,
        fixed: Float[Tensor, "batch k"],
        h: Float[Tensor, "batch feature"],
        site: Float[Tensor, "batch site"],
        generator: torch.Generator | None,
    ) -> Float[Tensor, "batch k"]:
        """The mixed-effects prediction, for sites given as one-hot rows or as probabilities.

        Slopes act on h minus its mean, so that the intercept is the effect of the site on the mean subject.
        """
        if self.training:
            with torch.no_grad():
                weight = _CENTRE_WEIGHT if self.seen else 1.0
                self.centre.lerp_(h.mean(dim=0).float(), weight)
                self.seen.fill_(True)
        slopes = torch.einsum("bc,chk->bhk", site, self.slopes.draw(generator))
        intercepts = site @ self.intercepts.draw(generator)[:, 0]
        return fixed + intercepts + torch.einsum("bh,bhk->bk", h - self.centre, slopes)

    def divergence(self) -> Float[Tensor, ""]:
        """KL(q ‖ p) of all random effects, in nats."""
        return self.intercepts.divergence() + self.slopes.divergence()


@dataclass(frozen=True)
class SiteIntercepts:
    """What is known of the intercept of each training site: posterior mean and standard deviation."""

    mean: Float64[np.ndarray, "site k"]
    sd: Float64[np.ndarray, "site k"]

    @property
    def variance(self) -> Float64[np.ndarray, " k"]:
        """The variance between sites.

        The mean of the sites is a fixed effect and takes one degree of freedom, as in restricted maximum
        likelihood.
        """
        deviations = self.mean - self.mean.mean(axis=0)
        return (np.square(deviations) + np.square(self.sd)).sum(axis=0) / (len(self.mean) - 1)


class SiteNetwork(SavedModule):
    """A network of any kind whose predictions may depend on the site.

    `effects` are `none`, `input` (the site is a further input: columns of a table, constant channels of an
    image), `variational`, `lmmnn` or `monte_carlo_em`. Other arguments are those of `PredictorNetwork`.
    """

    def __init__(
        self, network: str, outputs: int, inputs: int, width: int, channels: int, sites: int, effects: Effects
    ):
        super().__init__(
            network=network, outputs=outputs, inputs=inputs, width=width, channels=channels, sites=sites,
            effects=effects,
        )  # fmt: skip
        self.sites, self.of_site_input = sites, effects == "input"
        sees_images, more = input_of(network) == IMAGE, sites if self.of_site_input else 0
        self.network = PredictorNetwork(
            network,
            outputs,
            inputs + (0 if sees_images else more),
            width,
            channels + (more if sees_images else 0),
        )
        shape = (2, channels + more, inputs, inputs) if sees_images else (2, inputs + more)
        self.network.eval()
        with torch.no_grad():
            _, h, hidden = observe(self.network, torch.zeros(shape))
        self.network.train()
        self.activations = hidden.shape[1]
        self.effects = None
        if effects == "variational":
            self.effects = VariationalEffects(sites, h.shape[1], outputs)
        elif effects == "lmmnn":
            self.effects = LmmnnEffects(sites, outputs)
        elif effects == "monte_carlo_em":
            self.effects = MonteCarloEffects(sites, h.shape[1], outputs)

    def forward(
        self,
        x: Float[Tensor, "batch ..."],
        site: Float[Tensor, "batch site"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Outputs:
        """Both predictions and the hidden activations.

        Without a site, the mixed-effects prediction is the other one, and a network that has the site as an
        input sees equal shares of all. A generator draws the random effects; without it they are their means.
        """
        if self.of_site_input:
            x = _joined(x, x.new_full((len(x), self.sites), 1 / self.sites) if site is None else site)
        fixed, h, hidden = observe(self.network, x)
        if self.effects is None or site is None:
            mixed = fixed
        elif isinstance(self.effects, LmmnnEffects):
            mixed = self.effects(fixed, site)
        elif isinstance(self.effects, MonteCarloEffects):
            mixed = self.effects(fixed, h, site)
        else:
            mixed = self.effects(fixed, h, site, generator)
        return Outputs(fixed, mixed, hidden, h)

    def intercepts(self) -> SiteIntercepts:
        """The intercepts of the training sites. Raises ValueError if the network has no random effects."""
        if self.effects is None:
            raise ValueError("this network has no random effects of sites")
        if isinstance(self.effects, LmmnnEffects):
            mean, sd = self.effects.intercept, self.effects.intercept_variance.sqrt()
        elif isinstance(self.effects, MonteCarloEffects):
            mean, sd = self.effects.mean[:, 0], self.effects.intercept_variance.sqrt()
        else:
            mean, sd = self.effects.intercepts.m[:, 0], self.effects.intercepts.s()[:, 0]
        return SiteIntercepts(*(value.detach().double().cpu().numpy() for value in (mean, sd)))


def _joined(x: Float[Tensor, "batch ..."], site: Float[Tensor, "batch site"]) -> Float[Tensor, "batch ..."]:
    """Inputs with the site beside them: further columns, or constant channels of an image."""
    if x.ndim == 4:
        site = site[:, :, None, None].expand(-1, -1, *x.shape[2:])
    return torch.cat([x, site.to(x)], dim=1)
