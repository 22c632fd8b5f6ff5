"""Training of an image VAE of any family."""

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
from covary.training.shipped import content_of
from covary.vae.families.adversarial import Opponent
from covary.vae.families.catalogue import FAMILIES, Prior
from covary.vae.loss import warmed_up_beta, with_free_bits
from covary.vae.network import VAE
from covary.vae.perceptual import PerceptualLoss, perceptual_loss
from covary.vae.start import start_from
from covary.vae.use import batches_of

log = logging.getLogger(__name__)


def train_vae(
    images: UInt8[np.ndarray, "n c h w"],
    test_images: UInt8[np.ndarray, "m c h w"],
    config: Vae,
    seed: int,
    checkpoint_dir: Path,
    *,
    active_variance: float = 0.01,
    cpu_threads: int = 2,
) -> tuple[VAE, pd.DataFrame]:
    """Minimise α·(MSE + features) + perceptual terms + β·(KL + sleep) by Adam (paper 000, section 2.1).

    The prior and its KL are those of `config.family`. A family with an adversary has the term `features`,
    squared differences in the discriminator (paper 003, section 3.3), which takes a step after each of the
    VAE's.

    The sleep term, not in the paper, is that of Helmholtz machines (Hinton et al. 1995,
    doi:10.1126/science.7761831): the encoder learns to read z ~ N(0, I) back from its decoding.

    Returns the network and one row per epoch: epoch, beta, loss, mse, perceptual, kl, sleep, test_loss,
    test_mse, test_perceptual, test_kl, active_units. Sparse families have open_share, the expected share of
    open gates; families with an adversary have features, discriminator (its loss) and
    discriminator_accuracy. Losses are those of the β in force; the one on test images, at the posterior mean,
    has neither sleep term nor features. Active units are the latents whose posterior mean varies over test
    images by more than `active_variance` (Burda et al. 2016, arXiv:1509.00519).

    The training starts from the weights of the file `config.start`, or from random ones. Raises UserError
    if the file is missing, damaged, or holds a network of another shape.

    A run that finds a checkpoint of the same settings, seed and images in `checkpoint_dir` goes on from there
    and ends with the weights of an uninterrupted run. Weights depend a little on `cpu_threads` (see
    `fixed_threads`).
    """
    with fixed_threads(cpu_threads):
        return _train(images, test_images, config, seed, checkpoint_dir, active_variance)


def _train(
    images: UInt8[np.ndarray, "n c h w"],
    test_images: UInt8[np.ndarray, "m c h w"],
    config: Vae,
    seed: int,
    checkpoint_dir: Path,
    active_variance: float,
) -> tuple[VAE, pd.DataFrame]:
    """What `train_vae` does, on as many threads as are set."""
    device = choose_device()
    family = FAMILIES[config.family]
    prior = family.prior(config)
    with seeded(seed, "vae_weights"):
        network = place(new_network(config, images.shape[-1], images.shape[1]))
        opponent = (
            Opponent(images.shape[-1], images.shape[1], config.adversary, config.weight_decay)
            if family.has_adversary
            else None
        )
    if config.start is not None:
        start_from(network, config, images.shape[-1])
    perceptual = perceptual_loss(config, seed)
    if config.compile:
        network.encoder.compile()
        network.decoder.compile()
    optimiser = torch.optim.Adam(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    rate = epoch_schedule(optimiser, config.learning_rate_schedule, config.epochs)
    identity = fingerprint(config, seed, images, test_images, content_of(config.start))
    parts = {"network": network, "optimiser": optimiser, "rate": rate}
    if opponent is not None:
        parts |= {"discriminator": opponent.discriminator, "discriminator_optimiser": opponent.optimiser}
    checkpoint = Checkpoint(checkpoint_dir, identity, **parts)
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
                found, decoding = _loss_terms(network, prior, perceptual, x, draws, epoch, config)
                if opponent is not None:
                    with mixed_precision(device):
                        seen = opponent.look(x, decoding)
                        found["features"] = opponent.mismatch(seen, step)
                optimiser.zero_grad(set_to_none=True)
                _total(found, config, beta).backward(
                    inputs=list(network.parameters()) if opponent else None, retain_graph=opponent is not None
                )
                if config.gradient_clip is not None:
                    torch.nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
                optimiser.step()
                if opponent is not None:
                    found |= opponent.learn(seen)
                terms.append({name: value.detach() for name, value in found.items()})
            rate.step()
            mean = {name: torch.stack([t[name] for t in terms]).mean().item() for name in terms[0]}
            history.append(
                {"epoch": epoch + 1, "beta": beta, "loss": _total(mean, config, beta)}
                | {name: value for name, value in mean.items() if name != "kl_free"}
                | _test(network, prior, perceptual, test_images, config, beta, active_variance)
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


def new_network(config: Vae, size_px: int, channels: int) -> VAE:
    """The VAE of a configuration with random weights."""
    return VAE(
        size_px,
        config.latent_dim,
        config.base_channels,
        config.architecture,
        config.crop_rows,
        channels,
        FAMILIES[config.family].posterior,
    )


def _augmented(
    network: VAE, x: Float[Tensor, "batch c h w"], config: Vae, seed: int, step: int
) -> Float[Tensor, "batch c h w"]:
    """Images mirrored or turned at random, and rows cut away at random heights, as the config says."""
    n = len(x)
    if config.horizontal_flip:
        flipped = rng.generator(seed, "vae_flip", step).random(n) < 0.5
        x = torch.where(torch.from_numpy(flipped).to(x.device)[:, None, None, None], x.flip(-1), x)
    if config.crop_rows:
        first = rng.generator(seed, "vae_crop", step).integers(0, config.crop_rows, n, endpoint=True)
        x = network.view(x, torch.from_numpy(first))
    if config.quarter_turns:
        turns = torch.from_numpy(rng.generator(seed, "vae_turn", step).integers(0, 4, n)).to(x.device)
        for k in (1, 2, 3):
            x = torch.where((turns == k)[:, None, None, None], x.rot90(k, (2, 3)), x)
    return x


def _loss_terms(
    network: VAE,
    prior: Prior,
    perceptual: PerceptualLoss | None,
    x: Float[Tensor, "batch c h w"],
    draws: torch.Generator,
    epoch: int,
    config: Vae,
) -> tuple[dict[str, Float[Tensor, ""]], Float[Tensor, "batch c h w"]]:
    """The terms of the loss of images: mse, perceptual, kl, sleep, which is how badly z ~ p(z) is read back
    from its decoding, and kl_free (with free bits); 0 where the config has no such term; and x̂."""
    n, seen, nothing = len(x), x, torch.zeros((), device=x.device)
    with mixed_precision(x.device):
        if config.sleep_weight > 0:
            z_asleep = prior.sample(n, network.latent_dim, draws).to(x.device)
            # The decoder does not learn from this: it could hide z in noise that only the encoder sees.
            with torch.no_grad():
                dream = network.decode(z_asleep)
            # One pass, so that batch normalisation has the same statistics for images and dreams.
            seen = torch.cat([x, dream])
        posterior = network.posterior(seen)
        awake, asleep = (
            type(posterior)(*(part[rows] for part in posterior)) for rows in (slice(n), slice(n, None))
        )
        decoding = network.decode(prior.draw(awake, draws, epoch))
        kl = prior.kl(awake)
        terms = {
            "mse": torch.nn.functional.mse_loss(decoding, x),
            "perceptual": nothing if perceptual is None else perceptual(x, decoding),
            "kl": kl.sum(),
            "sleep": prior.negative_log_density(z_asleep, asleep).sum()
            if config.sleep_weight > 0
            else nothing,
            "kl_free": with_free_bits(kl, config.free_bits),
        }
        return terms, decoding


def _total(terms: Mapping[str, Any], config: Vae, beta: float) -> Any:
    """The loss from its terms, as numbers or tensors."""
    return (
        config.mse_weight * (terms["mse"] + config.adversary.weight * terms.get("features", 0.0))
        + terms["perceptual"]
        + beta * (terms["kl_free"] + config.sleep_weight * terms["sleep"])
    )


@torch.no_grad()
def _test(
    network: VAE,
    prior: Prior,
    perceptual: PerceptualLoss | None,
    images: UInt8[np.ndarray, "m c h w"],
    config: Vae,
    beta: float,
    active_variance: float,
) -> dict[str, int | float]:
    """Loss terms with z at the posterior mean, the number of active latents, and the share of open gates."""
    network.eval()
    device = device_of(network)
    means, gates = [], []
    totals = dict.fromkeys(("mse", "perceptual", "kl", "kl_free"), 0.0)
    for batch in batches_of(images):
        x = network.view(to_unit_range(batch, device))
        posterior = network.posterior(x)
        mean, _ = posterior.moments()
        decoding = network.decode(mean)
        kl = prior.kl(posterior)
        means.append(mean)
        gates.append(posterior.gate())
        totals["mse"] += torch.nn.functional.mse_loss(decoding, x).item() * len(batch)
        totals["perceptual"] += 0.0 if perceptual is None else perceptual(x, decoding).item() * len(batch)
        totals["kl"] += kl.sum().item() * len(batch)
        totals["kl_free"] += with_free_bits(kl, config.free_bits).item() * len(batch)
    found = {name: total / len(images) for name, total in totals.items()}
    active = torch.cat(means).var(dim=0) > active_variance
    sparse = {} if gates[0] is None else {"open_share": torch.cat(gates).mean().item()}
    return {
        "test_loss": _total(found | {"sleep": 0.0}, config, beta),
        "test_mse": found["mse"],
        "test_perceptual": found["perceptual"],
        "test_kl": found["kl"],
        "active_units": int(active.sum()),
    } | sparse
