"""Training of the β-VAE and its use as an encoder."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from covary import rng
from covary.config import Ranking, Vae
from covary.training import (
    Checkpoint,
    choose_device,
    device_of,
    fingerprint,
    fixed_threads,
    keyed_generator,
    mixed_precision,
    place,
    progress,
    seeded,
    shuffled_batches,
    to_grey,
    to_unit_range,
)
from covary.vae.loss import kl_divergence, negative_log_density, warmed_up_beta
from covary.vae.network import VAE, draw_posterior

_INFERENCE_BATCH = 256


@fixed_threads()
def train_vae(
    images: UInt8[np.ndarray, "n h w"],
    test_images: UInt8[np.ndarray, "m h w"],
    config: Vae,
    seed: int,
    checkpoint_dir: Path,
) -> tuple[VAE, pd.DataFrame]:
    """Minimise α·MSE + β·(KL + sleep) by Adam (paper, section 2.1; without its perceptual terms).

    The sleep term, not in the paper, is that of Helmholtz machines (Hinton et al. 1995,
    doi:10.1126/science.7761831): the encoder learns to read z ~ N(0, I) back from its decoding.

    Returns the network and one row an epoch: epoch, beta, loss, mse, kl, sleep, test_loss, test_mse, test_kl,
    active_units. Losses are those of the β in force; the one on test images, at the posterior mean, has no
    sleep term. A run that finds a checkpoint of the same settings, seed and images in `checkpoint_dir` goes
    on from there and ends with the weights of an uninterrupted run.
    """
    device = choose_device()
    with seeded(seed, "vae_weights"):
        network = place(VAE(images.shape[1], config.latent_dim, config.base_channels))
    optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.epochs)
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
                x = to_unit_range(images[batch], device)
                if config.horizontal_flip:
                    flipped = rng.generator(seed, "vae_flip", step).random(len(batch)) < 0.5
                    x = torch.where(torch.from_numpy(flipped).to(device)[:, None, None, None], x.flip(-1), x)
                draws = keyed_generator(seed, "vae_noise", step)
                mse, kl, sleep = _loss_terms(network, x, draws, config.sleep_weight > 0)
                loss = config.mse_weight * mse + beta * (kl + config.sleep_weight * sleep)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                terms.append(torch.stack([mse, kl, sleep]).detach())
            rate.step()
            mse, kl, sleep = torch.stack(terms).mean(dim=0).tolist()
            history.append(
                {
                    "epoch": epoch + 1,
                    "beta": beta,
                    "loss": config.mse_weight * mse + beta * (kl + config.sleep_weight * sleep),
                    "mse": mse,
                    "kl": kl,
                    "sleep": sleep,
                }
                | _test(network, test_images, config, beta)
            )
            checkpoint.write(epoch + 1, history)
            bar.set_postfix(
                mse=f"{mse:.5f}", kl=f"{kl:.1f}", active=history[-1]["active_units"], refresh=False
            )
            bar.update()
    checkpoint.discard()
    return network.eval(), pd.DataFrame(history)


def _loss_terms(
    network: VAE, x: Float[Tensor, "batch 1 h w"], draws: torch.Generator, with_sleep: bool
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """MSE and KL of images, and how badly z ~ N(0, I) is read back from its decoding (0 without sleep)."""
    n, seen, sleep = len(x), x, torch.zeros((), device=x.device)
    with mixed_precision(x.device):
        if with_sleep:
            z_asleep = torch.randn((n, network.latent_dim), generator=draws).to(x.device)
            # The decoder does not learn from this: it could hide z in noise that only the encoder sees.
            with torch.no_grad():
                dream = network.decode(z_asleep)
            # One pass, so that batch normalisation has the same statistics for images and dreams.
            seen = torch.cat([x, dream])
        mean, log_variance = network.encode(seen)
        z = draw_posterior(mean[:n], log_variance[:n], draws)
        mse = torch.nn.functional.mse_loss(network.decode(z), x)
        kl = kl_divergence(mean[:n], log_variance[:n]).sum()
        if with_sleep:
            sleep = negative_log_density(z_asleep, mean[n:], log_variance[n:]).sum()
    return mse, kl, sleep


@fixed_threads()
@torch.no_grad()
def encode(
    vae: VAE, images: UInt8[np.ndarray, "n h w"]
) -> tuple[Float32[np.ndarray, "n latent"], Float32[np.ndarray, "n latent"]]:
    """Mean and log variance of q(z|x) for grey images."""
    vae.eval()
    device = device_of(vae)
    parts = [vae.encode(to_unit_range(batch, device)) for batch in _batches(images)]
    mean, log_variance = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    return mean, log_variance


@fixed_threads()
@torch.no_grad()
def decode(vae: VAE, z: Float[np.ndarray, "n latent"]) -> UInt8[np.ndarray, "n h w"]:
    """Grey images that the decoder draws for z."""
    vae.eval()
    device = device_of(vae)
    parts = [vae.decode(torch.from_numpy(batch).float().to(device)) for batch in _batches(z)]
    return to_grey(torch.cat(parts))


def _batches(array: np.ndarray) -> list[np.ndarray]:
    return [array[i : i + _INFERENCE_BATCH] for i in range(0, len(array), _INFERENCE_BATCH)]


@torch.no_grad()
def _test(network: VAE, images: np.ndarray, config: Vae, beta: float) -> dict[str, int | float]:
    """Loss terms with z at the posterior mean, and the number of active latents."""
    network.eval()
    device = device_of(network)
    means, squared_error, kl = [], 0.0, 0.0
    for batch in _batches(images):
        x = to_unit_range(batch, device)
        mean, log_variance = network.encode(x)
        means.append(mean)
        squared_error += torch.nn.functional.mse_loss(network.decode(mean), x).item() * len(batch)
        kl += kl_divergence(mean, log_variance).sum().item() * len(batch)
    mse, kl = squared_error / len(images), kl / len(images)
    active = torch.cat(means).var(dim=0) > Ranking().active_variance
    return {"test_loss": config.mse_weight * mse + beta * kl, "test_mse": mse, "test_kl": kl,
            "active_units": int(active.sum())}  # fmt: skip
