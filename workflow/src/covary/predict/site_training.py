"""Training of a network whose subjects come from sites, and its use."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from covary.config.predictors import Predictor
from covary.config.site_methods import SiteMethod
from covary.errors import UserError
from covary.predict.adversary import Adversary
from covary.predict.armed import SiteNetwork
from covary.predict.epochs import train_epochs
from covary.predict.evidence import Evidence
from covary.predict.examples import Inputs, content, to_input
from covary.predict.lmmnn import LmmnnEffects
from covary.predict.network import source_of
from covary.training.checkpoint import Checkpoint, fingerprint
from covary.training.device import choose_device, device_of, fixed_threads, mixed_precision, place
from covary.training.draws import keyed_generator, seeded

_INFERENCE_BATCH = 256


@dataclass(frozen=True)
class SiteExamples:
    """What a predictor sees of some subjects, the evidence, and their sites as numbers 0 … C - 1."""

    inputs: Inputs
    evidence: Evidence
    site: Int64[np.ndarray, " subject"]

    def __len__(self) -> int:
        return len(self.site)


@fixed_threads(1)
def train_with_sites(
    train: SiteExamples,
    validation: SiteExamples | None,
    likelihood: Callable[[], nn.Module],
    config: Predictor,
    method: SiteMethod,
    sites: int,
    seed: int,
    checkpoint_dir: Path,
) -> tuple[SiteNetwork, pd.DataFrame]:
    """Minimise ℓ(y, η_M) + λ_F ℓ(y, η_F) + KL/N - λ_g min(CE, log C) by AdamW, in turns with the adversary.

    Terms that the method does not have are left out. `likelihood` makes ℓ, minus a log likelihood per
    subject; each prediction has its own, because their errors differ. The random effects are drawn once per
    pass. LMMNN has its own likelihood of a batch, in place of the sum.

    A running average of the weights is kept. With validation subjects, the average with the least loss of
    η_M at the true site is returned, and the training stops as `train_predictor` does; without, that of the
    last epoch.

    Also returns one row per epoch: epoch, loss, best, and where they exist adversary_loss and
    validation_loss. A training that was killed continues from its last checkpoint; one that has ended
    before is read from `checkpoint_dir`. Raises UserError if a batch would hold one subject, or the network
    cannot be made or has no hidden layer for the adversary.
    """
    device, shape, guess = choose_device(), train.inputs.shape, train.evidence.guess()
    with seeded(seed, "site_network_weights"):
        channels = shape[1] if len(shape) == 4 else 1
        network = SiteNetwork(
            config.network, guess.shape[1], shape[-1], config.width, channels, sites, method.effects
        )
        if method.corrector == "adversary" and not network.activations:
            raise UserError(
                f"predictors.network: {config.network} has no hidden layer for the adversary to see"
            )
        adversary = Adversary(network.activations, method.adversary_widths, sites)
    network, adversary = place(network), adversary.to(device)
    network.network.start_at(torch.from_numpy(guess.mean(axis=0)))
    of_fixed, of_mixed = likelihood().to(device), likelihood().to(device)
    optimiser = torch.optim.AdamW(
        [
            {"params": list(network.network.parameters()), "weight_decay": config.weight_decay},
            {
                "params": [] if network.effects is None else list(network.effects.parameters()),
                "weight_decay": 0,
            },
        ],
        lr=config.learning_rate,
        fused=True,
    )
    of_adversary = torch.optim.AdamW(
        adversary.parameters(), lr=config.learning_rate, weight_decay=0, fused=True
    )
    site_of = torch.from_numpy(train.site).to(device)
    variational = method.effects == "variational"

    def step(rows: Int64[np.ndarray, " batch"], batch: np.ndarray, number: int) -> dict[str, Tensor]:
        site, evidence = site_of[torch.from_numpy(rows).to(device)], train.evidence[rows]
        with mixed_precision(device):
            outputs = network(
                to_input(batch, device),
                one_hot(site, sites),
                keyed_generator(seed, "site_effects", number) if variational else None,
            )
        fixed, mixed, hidden = (values.float() for values in outputs)
        against = {}
        if method.corrector == "adversary":
            against["adversary_loss"] = found = adversary.cross_entropy(hidden.detach(), site)
            of_adversary.zero_grad(set_to_none=True)
            found.backward()
            of_adversary.step()
        if isinstance(network.effects, LmmnnEffects):
            loss = network.effects.loss(torch.from_numpy(evidence.value).to(fixed) - fixed, site)
        else:
            loss = of_mixed(mixed, evidence).mean()
        if variational:
            loss = loss + method.fixed_weight * of_fixed(fixed, evidence).mean()
            loss = loss + network.effects.divergence() / len(train)
        if method.corrector == "adversary":
            loss = loss - method.adversary_weight * adversary.withheld(hidden, site)
        return {"loss": loss, **against}

    def validate(average: SiteNetwork) -> float | None:
        if isinstance(network.effects, LmmnnEffects):
            _predict_intercepts(average, train)
        if validation is None:
            return None
        predicted = predict_with_sites(average, validation.inputs, one_hot_rows(validation.site, sites))
        fixed, mixed = (torch.from_numpy(values).to(device) for values in predicted)
        if variational:  # `marginal_likelihood` fits its V here
            of_fixed.validate(fixed, validation.evidence)
        return of_mixed.validate(mixed, validation.evidence)

    parts = [
        array
        for examples in filter(None, (train, validation))
        for array in (content(examples.inputs), *examples.evidence.arrays(), examples.site)
    ]
    settings = np.frombuffer(method.model_dump_json().encode(), np.uint8)
    identity = fingerprint(config, seed, settings, *parts, source_of(config.network))
    return train_epochs(
        network,
        optimiser,
        train.inputs,
        step,
        validate,
        config,
        partial(Checkpoint, checkpoint_dir, identity),
        seed=seed,
        stream="site_predictor_order",
        label="train predictor with sites (epochs)",
        adversary=adversary,
        of_fixed=of_fixed,
        of_mixed=of_mixed,
        of_adversary=of_adversary,
    )


@fixed_threads(1)
@torch.no_grad()
def predict_with_sites(
    network: SiteNetwork, inputs: Inputs, site: Float[np.ndarray, "n site"] | None = None
) -> tuple[Float32[np.ndarray, "n k"], Float32[np.ndarray, "n k"]]:
    """The fixed-effects and the mixed-effects predictions, with random effects at their posterior means.

    `site` has a row per subject: one-hot, or probabilities of the training sites. Without it the second
    prediction is the first.
    """
    network.eval()
    device, found = device_of(network), []
    for i in range(0, len(inputs), _INFERENCE_BATCH):
        part = slice(i, i + _INFERENCE_BATCH)
        weights = None if site is None else torch.from_numpy(site[part]).float().to(device)
        found.append(network(to_input(inputs[part], device), weights)[:2])
    fixed, mixed = (torch.cat(parts).float().cpu().numpy() for parts in zip(*found, strict=True))
    return fixed, mixed


def one_hot(site: Int64[Tensor, " n"], sites: int) -> Float32[Tensor, "n site"]:
    """Rows with a 1 at the site."""
    return nn.functional.one_hot(site, sites).float()


def one_hot_rows(site: Int64[np.ndarray, " n"], sites: int) -> Float32[np.ndarray, "n site"]:
    """Rows with a 1 at the site."""
    return np.eye(sites, dtype=np.float32)[site]


def _predict_intercepts(network: SiteNetwork, train: SiteExamples) -> None:
    """Let LMMNN predict its intercepts from the residuals of all training subjects."""
    fixed, _ = predict_with_sites(network, train.inputs)
    device = device_of(network)
    residual = torch.from_numpy(train.evidence.guess() - fixed).float().to(device)
    network.effects.predict_intercepts(residual, torch.from_numpy(train.site).to(device))
