"""The z of real images: what the generator is shown, and how its latents go together."""

import logging

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from threadpoolctl import threadpool_limits
from torch import Tensor

from covary import rng
from covary.dataset.latents import Mixture
from covary.vae.families.beta import draw_posterior
from covary.vae.families.spike_slab import draw_gated

log = logging.getLogger(__name__)

READABLE_VARIANCE = 0.5  # of the posterior mean over images: such a latent is read from an image
_COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
_HELD_OUT = 5  # every fifth image
_MOST_IMAGES = 5000
_LEAST_VARIANCE = 0.02  # added to every component; the encoder's own error is larger


def conditioning(
    mean: Float32[np.ndarray, "n latent"],
    log_variance: Float32[np.ndarray, "n latent"],
    sd: Float32[np.ndarray, " latent"],
    source: str,
    draws: torch.Generator,
    gate: Float32[np.ndarray, "n latent"] | None = None,
) -> Float[Tensor, "n latent"]:
    """z that the generator sees for images with the posterior N(mean, exp(log_variance)), on the CPU.

    `source` is a value of `generator.conditioning_source`, `sd` the standard deviation of `mean` over all
    images, and `gate` γ of a spike-and-slab posterior.
    """
    z = torch.from_numpy(mean)
    if source != "posterior_mean":
        spread = torch.from_numpy(log_variance)
        z = (
            draw_posterior(z, spread, draws)
            if gate is None
            else draw_gated(z, spread, torch.from_numpy(gate), draws)
        )
    if source == "reading":
        z = torch.where(torch.from_numpy(sd**2 > READABLE_VARIANCE), torch.from_numpy(mean / sd), z)
    return z


def joint_distribution(
    z: Float[np.ndarray, "n latent"], latents: Int[np.ndarray, " d"], seed: int
) -> Mixture | None:
    """How `latents` of real images go together: the mixture of Gaussians that predicts held-out images best.

    The number of components is the one under which every fifth image is most probable when the others are
    known; more are tried until two numbers in a row are no better. The mixture is then fitted to all images,
    or to 5,000 of them, evenly spread. None if no mixture predicts better than N(0, I).
    """
    x = np.asarray(z, float)[:: -(-len(z) // _MOST_IMAGES), latents]
    is_held_out = np.arange(len(x)) % _HELD_OUT == 0
    known, held_out = x[~is_held_out], x[is_held_out]
    best, most, worse = 0, _log_density(held_out), 0
    standard = most
    with threadpool_limits(1):  # the sums of a fit depend on the number of threads
        for components in _COMPONENTS:
            if worse == 2 or components * (len(latents) + 1) >= len(known):
                break
            score = _fit(known, components, seed).score(held_out)
            worse = 0 if score > most else worse + 1
            if score > most:
                best, most = components, score
        if not best:
            return None
        fitted = _fit(x, best, seed)
    log.info(
        "%d latents of real images: %d Gaussians, %.2f nats per held-out image better than N(0, I)",
        len(latents), best, most - standard,
    )  # fmt: skip
    return Mixture(latents, fitted.weights_, fitted.means_, fitted.covariances_)


def _log_density(x: Float[np.ndarray, "n d"]) -> float:
    """Of N(0, I), the mean over x; 0 for no x."""
    from scipy.stats import norm  # takes a second, which those who only encode need not wait for

    return float(norm.logpdf(x).sum(axis=1).mean()) if len(x) else 0.0


def _fit(x: Float[np.ndarray, "n d"], components: int, seed: int):
    from sklearn.mixture import GaussianMixture  # takes a second as well

    state = rng.stream_key(seed, "latent_mixture", components) % 2**32
    return GaussianMixture(components, reg_covar=_LEAST_VARIANCE, max_iter=500, random_state=state).fit(x)
