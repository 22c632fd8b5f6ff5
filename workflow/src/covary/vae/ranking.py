"""Which latents the images depend on most: the two methods of the paper's section 2.4, on active latents."""

import math

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64

from covary import rng
from covary.config.vae import Ranking
from covary.errors import UserError
from covary.training.device import device_of, fixed_threads
from covary.vae.network import VAE

_BATCH = 250


@fixed_threads(1)
def rank_latents(
    vae: VAE,
    posterior_mean_variance: Float[np.ndarray, " latent"],
    config: Ranking,
    seed: int,
    *,
    random_effects: int = 3,
    open_share: float = 1.0,
) -> pd.DataFrame:
    """Rank the latents by both methods and choose the random effects by `config.method`.

    `posterior_mean_variance` is Var over real images of the posterior mean: a latent is active if it exceeds
    `config.active_variance`. Method 1, read-back: mean squared error between z ~ N(0, I) and the posterior
    mean of its decoding; small is influential. Method 2, sensitivity: mean squared change of the decoding
    (values 0 … 1) when one latent is redrawn; large is influential.

    Under a spike-and-slab prior, `open_share` is α, and a latent is judged by the z in which its gate is
    open. In synthetic subjects the gates of the chosen latents are always open, so that these are N(0, 1).
    What can be read back of them is therefore measured once more with z of that kind.

    Returns one row per latent: latent, posterior_mean_variance, active, readback_mse, readback_r2,
    sensitivity, rank_readback and rank_sensitivity (1 is best; -1: not active), random_effect (0 … k-1; -1:
    not chosen), open_share (how often its gate is open in synthetic subjects).
    Raises UserError if fewer latents are active than there are random effects.
    """
    vae.eval()
    active = np.asarray(posterior_mean_variance) > config.active_variance
    if active.sum() < random_effects:
        raise UserError(
            f"the VAE has {active.sum()} active latents, but {random_effects} random effects are needed: "
            "lower vae.beta or ranking.active_variance, or train on more varied images"
        )
    share = np.full(vae.latent_dim, open_share)
    readback_mse, readback_r2 = read_back(vae, share, config.readback_draws, seed)
    sensitivity = _sensitivity(vae, share, config.sensitivity_draws, seed)
    table = pd.DataFrame(
        {
            "latent": np.arange(vae.latent_dim),
            "posterior_mean_variance": posterior_mean_variance,
            "active": active,
            "readback_mse": readback_mse,
            "readback_r2": readback_r2,
            "sensitivity": sensitivity,
            "rank_readback": _rank(readback_mse, active),
            "rank_sensitivity": _rank(-sensitivity, active),
        }
    )
    rank = table[f"rank_{config.method}"]
    chosen = rank.between(1, random_effects)
    share[chosen] = 1
    if open_share < 1:
        again = read_back(vae, share, config.readback_draws, seed)
        for name, found in zip(("readback_mse", "readback_r2"), again, strict=True):
            table[name] = np.where(chosen, found, table[name])
    return table.assign(random_effect=np.where(chosen, rank - 1, -1), open_share=share)


def ranking_agreement(ranking: pd.DataFrame) -> pd.DataFrame:
    """How far the two methods agree on the active latents: the paper's claim as a measured number.

    `ranking` is what `rank_latents` returns. One row: active, spearman, spearman_low, spearman_high, chosen
    (number of random effects k) and shared (how many of the k best of one method are among those of the
    other). The 95 % interval, over latents as a sample of those a VAE could have, is Fisher's with the
    standard error of Bonett and Wright (2000, doi:10.1007/BF02294183); NaN below four active latents.
    """
    from scipy.stats import norm, spearmanr  # takes a second, which other users of the VAE need not wait for

    active = ranking[ranking["active"]]
    n, k = len(active), int((ranking["random_effect"] >= 0).sum())
    rho = (
        float(spearmanr(active["rank_readback"], active["rank_sensitivity"]).statistic) if n > 1 else math.nan
    )
    low = high = math.nan
    if n > 3:
        centre = math.atanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12))
        margin = norm.ppf(0.975) * math.sqrt((1 + rho**2 / 2) / (n - 3))
        low, high = math.tanh(centre - margin), math.tanh(centre + margin)
    best = (active[f"rank_{method}"].le(k) for method in ("readback", "sensitivity"))
    return pd.DataFrame(
        [
            {
                "active": n,
                "spearman": rho,
                "spearman_low": low,
                "spearman_high": high,
                "chosen": k,
                "shared": int((next(best) & next(best)).sum()),
            }
        ]
    )


@fixed_threads(1)
@torch.no_grad()
def read_back(
    vae: VAE, open_share: Float[np.ndarray, " latent"], draws: int, seed: int
) -> tuple[Float64[np.ndarray, " latent"], Float64[np.ndarray, " latent"]]:
    """Mean squared error and R² of the posterior mean of decodings of z ~ p(z), for each latent.

    The gate of a latent is open in a share `open_share` of the z, and only these count.
    """
    vae.eval()
    z = rng.latents(seed, "ranking_readback", 0, draws, open_share)
    batches = torch.from_numpy(z).float().to(device_of(vae)).split(_BATCH)
    z_hat = torch.cat([vae.encode(vae.decode(batch))[0] for batch in batches]).double().cpu().numpy()
    is_open = z != 0
    mse = np.square(z - z_hat).mean(axis=0, where=is_open)
    return mse, 1 - mse / z.var(axis=0, where=is_open)


@torch.no_grad()
def _sensitivity(
    vae: VAE, open_share: Float[np.ndarray, " latent"], draws: int, seed: int
) -> Float64[np.ndarray, " latent"]:
    """Mean squared change of the decoding when one latent is redrawn from N(0, 1), its gate open."""
    pairs = rng.latents(
        seed, "ranking_sensitivity", 0, draws, np.stack([open_share, np.ones_like(open_share)])
    )
    change = torch.zeros(vae.latent_dim, dtype=torch.float64)
    for batch in torch.from_numpy(pairs).float().to(device_of(vae)).split(_BATCH):
        z, redrawn = batch.unbind(dim=1)
        image = vae.decode(z)
        for j in range(vae.latent_dim):
            other = z.clone()
            other[:, j] = redrawn[:, j]
            change[j] += (vae.decode(other) - image).square().mean(dim=(1, 2, 3)).double().sum().cpu()
    return (change / draws).numpy()


def _rank(score: Float[np.ndarray, " latent"], active: np.ndarray) -> np.ndarray:
    """1, 2, … by rising score among the active latents, -1 for the others."""
    rank = np.full(len(score), -1)
    rank[np.flatnonzero(active)[np.argsort(score[active], kind="stable")]] = np.arange(1, active.sum() + 1)
    return rank
