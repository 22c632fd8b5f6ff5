"""Training of the β-VAE and its use as an encoder."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from covary import rng
from covary.config.vae import Vae
from covary.images.pixels import to_unit_range
from covary.jobs.progress import progress
from covary.training.checkpoint import Checkpoint, fingerprint
from covary.training.device import choose_device, device_of, fixed_threads, mixed_precision, place
from covary.training.draws import keyed_generator, seeded, shuffled_batches
from covary.training.schedule import epoch_schedule
from covary.vae.loss import kl_divergence, negative_log_density, warmed_up_beta, with_free_bits
from covary.vae.network import VAE, draw_posterior
from covary.vae.perceptual import PerceptualLoss, perceptual_loss
from covary.vae.use import _batches

log = logging.getLogger(__name__)


@fixed_threads()
def train_vae(
    images: UInt8[np.ndarray, "n c h w"],
    test_images: UInt8[np.ndarray, "m c h w"],
    config: Vae,
    seed: int,
    checkpoint_dir: Path,
    *,
    active_variance: float = 0.01,
) -> tuple[VAE, pd.DataFrame]:
    """Minimise α·MSE + perceptual terms + β·(KL + sleep) by Adam (paper, section 2.1).

    The sleep term, not in the paper, is that of Helmholtz machines (Hinton et al. 1995,
    doi:10.1126/science.7761831): the encoder learns to read z ~ N(0, I) back from its decoding.

    Returns the network and one row per epoch: epoch, beta, loss, mse, perceptual, kl, sleep, test_loss,
    test_mse, test_perceptual, test_kl, active_units. Losses are those of the β in force; the one on test
    images, at the posterior mean, has no sleep term. Active units are the latents whose posterior mean varies
    over test images by more than `active_variance` (Burda et al. 2016, arXiv:1509.00519).

    A run that finds a checkpoint of the same settings, seed and images in `checkpoint_dir` goes on from there
    and ends with the weights of an uninterrupted run.
    """
    device = choose_device()
    with seeded(seed, "vae_weights"):
        network = VAE(
            images.shape[-1],
            config.latent_dim,
            config.base_channels,
            config.architecture,
            config.crop_rows,
            images.shape[1],
        )
    network = place(network)
    perceptual = perceptual_loss(config, seed)
    if config.compile:
        network.encoder.compile()
        network.decoder.compile()
    optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    rate = epoch_schedule(optimiser, config.learning_rate_schedule, config.epochs)
    identity = fingerprint(config, seed, images, test_images)
    checkpoint = Checkpoint(checkpoint_dir, identity, network=network, optimiser=optimiser, rate=rate)
    first_epoch, history = checkpoint.resume()

    with progress(config.epochs, first_epoch, "train VAE (epochs)") as bar:
        for epoch in range(first_epoch, config.epochs):
            network.train()
            batches = shuffled_batches(seed, "vae_order", epoch, len(images), config.batch_size)
            terms = []
            for i, batch in enumerate(batches):
                step = epoch * len(batches) + i
                beta = warmed_up_beta(step / len(batches), config.beta, config.beta_warmup_epochs)
                x = _augmented(network, to_unit_range(images[batch], device), config, seed, step)
                draws = keyed_generator(seed, "vae_noise", step)
                found = _loss_terms(network, perceptual, x, draws, config)
                optimiser.zero_grad(set_to_none=True)
                _total(found, config, beta).backward()
                optimiser.step()
                terms.append({name: value.detach() for name, value in found.items()})
            rate.step()
            mean = {name: torch.stack([t[name] for t in terms]).mean().item() for name in terms[0]}
            history.append(
                {"epoch": epoch + 1, "beta": beta, "loss": _total(mean, config, beta)}
                | {name: mean[name] for name in ("mse", "perceptual", "kl", "sleep")}
                | _test(network, perceptual, test_images, config, beta, active_variance)
            )
            checkpoint.write(epoch + 1, history)
            log.debug("VAE epoch %d: %s", epoch + 1, history[-1])
            bar.set_postfix(
                mse=f"{mean['mse']:.5f}",
                kl=f"{mean['kl']:.1f}",
                active=history[-1]["active_units"],
                refresh=False,
            )
            bar.update()
    checkpoint.discard()
    return network.eval(), pd.DataFrame(history)


def _augmented(
    network: VAE, x: Float[Tensor, "batch c h w"], config: Vae, seed: int, step: int
) -> Float[Tensor, "batch c h w"]:
    """Half of the images mirrored, and rows cut away at random heights, as the config says."""
    n = len(x)
    if config.horizontal_flip:
        flipped = rng.generator(seed, "vae_flip", step).random(n) < 0.5
        x = torch.where(torch.from_numpy(flipped).to(x.device)[:, None, None, None], x.flip(-1), x)
    if config.crop_rows:
        first = rng.generator(seed, "vae_crop", step).integers(0, config.crop_rows, n, endpoint=True)
        x = network.view(x, torch.from_numpy(first))
    return x


def _loss_terms(
    network: VAE,
    perceptual: PerceptualLoss | None,
    x: Float[Tensor, "batch c h w"],
    draws: torch.Generator,
    config: Vae,
) -> dict[str, Float[Tensor, ""]]:
    """The terms of the loss of images: mse, perceptual, kl, kl_free (with free bits) and sleep, which is how
    badly z ~ N(0, I) is read back from its decoding; 0 where the config has no such term."""
    n, seen, nothing = len(x), x, torch.zeros((), device=x.device)
    with mixed_precision(x.device):
        if config.sleep_weight > 0:
            z_asleep = torch.randn((n, network.latent_dim), generator=draws).to(x.device)
            # The decoder does not learn from this: it could hide z in noise that only the encoder sees.
            with torch.no_grad():
                dream = network.decode(z_asleep)
            # One pass, so that batch normalisation has the same statistics for images and dreams.
            seen = torch.cat([x, dream])
        mean, log_variance = network.encode(seen)
        z = draw_posterior(mean[:n], log_variance[:n], draws)
        decoding = network.decode(z)
        kl = kl_divergence(mean[:n], log_variance[:n])
        return {
            "mse": torch.nn.functional.mse_loss(decoding, x),
            "perceptual": nothing if perceptual is None else perceptual(x, decoding),
            "kl": kl.sum(),
            "kl_free": with_free_bits(kl, config.free_bits),
            "sleep": negative_log_density(z_asleep, mean[n:], log_variance[n:]).sum()
            if config.sleep_weight > 0
            else nothing,
        }


def _total(terms: Mapping[str, Any], config: Vae, beta: float) -> Any:
    """The loss from its terms, as numbers or tensors."""
    return (
        config.mse_weight * terms["mse"]
        + terms["perceptual"]
        + beta * (terms["kl_free"] + config.sleep_weight * terms["sleep"])
    )


@torch.no_grad()
def _test(
    network: VAE,
    perceptual: PerceptualLoss | None,
    images: UInt8[np.ndarray, "m c h w"],
    config: Vae,
    beta: float,
    active_variance: float,
) -> dict[str, int | float]:
    """Loss terms with z at the posterior mean, and the number of active latents."""
    network.eval()
    device = device_of(network)
    means = []
    totals = dict.fromkeys(("mse", "perceptual", "kl", "kl_free"), 0.0)
    for batch in _batches(images):
        x = network.view(to_unit_range(batch, device))
        mean, log_variance = network.encode(x)
        decoding = network.decode(mean)
        kl = kl_divergence(mean, log_variance)
        means.append(mean)
        totals["mse"] += torch.nn.functional.mse_loss(decoding, x).item() * len(batch)
        totals["perceptual"] += 0.0 if perceptual is None else perceptual(x, decoding).item() * len(batch)
        totals["kl"] += kl.sum().item() * len(batch)
        totals["kl_free"] += with_free_bits(kl, config.free_bits).item() * len(batch)
    found = {name: total / len(images) for name, total in totals.items()}
    active = torch.cat(means).var(dim=0) > active_variance
    return {
        "test_loss": _total(found | {"sleep": 0.0}, config, beta),
        "test_mse": found["mse"],
        "test_perceptual": found["perceptual"],
        "test_kl": found["kl"],
        "active_units": int(active.sum()),
    }
