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
from covary.predict.armed import Outputs, SiteNetwork
from covary.predict.epochs import train_epochs
from covary.predict.evidence import Evidence
from covary.predict.examples import Inputs, content, to_input
from covary.predict.lmmnn import LmmnnEffects
from covary.predict.monte_carlo_em import MonteCarloEffects
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
    pass. LMMNN and Monte Carlo EM have their own likelihood of a batch, in place of the sum; the latter draws
    the random effects anew before each epoch.

    A running average of the weights is kept. With validation subjects, the average with the least loss of
    η_M at the true site is returned, and the training stops as `train_predictor` does; without, that of the
    last epoch.

    Also returns one row per epoch: epoch, loss, best, and where they exist adversary_loss and
    validation_loss. A training that was killed continues from its last checkpoint; one that has ended
    before is read from `checkpoint_dir`. Raises UserError if a batch would hold one subject, or the network
    cannot be made or has no hidden layer for the adversary.
    """
    turns = _Turns.initial(train, validation, likelihood, config, method, sites, seed)
    parts = [
        array
        for examples in filter(None, (train, validation))
        for array in (content(examples.inputs), *examples.evidence.arrays(), examples.site)
    ]
    settings = np.frombuffer(method.model_dump_json().encode(), np.uint8)
    identity = fingerprint(config, seed, settings, *parts, source_of(config.network))
    return train_epochs(
        turns.network,
        _optimiser(turns.network, config),
        train.inputs,
        turns.step,
        turns.validate,
        config,
        partial(Checkpoint, checkpoint_dir, identity),
        seed=seed,
        stream="site_predictor_order",
        label="train predictor with sites (epochs)",
        begin=turns.begin,
        adversary=turns.adversary,
        of_fixed=turns.of_fixed,
        of_mixed=turns.of_mixed,
        of_adversary=turns.of_adversary,
    )


@dataclass(frozen=True)
class _Turns:
    """What a step needs. `of_fixed` and `of_mixed` are ℓ of η_F and η_M, `of_adversary` is an optimiser."""

    train: SiteExamples
    validation: SiteExamples | None
    method: SiteMethod
    sites: int
    seed: int
    network: SiteNetwork
    adversary: Adversary
    of_fixed: nn.Module
    of_mixed: nn.Module
    of_adversary: torch.optim.Optimizer

    @classmethod
    def initial(
        cls,
        train: SiteExamples,
        validation: SiteExamples | None,
        likelihood: Callable[[], nn.Module],
        config: Predictor,
        method: SiteMethod,
        sites: int,
        seed: int,
    ) -> "_Turns":
        """Random weights; the prediction is the mean of the evidence."""
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
        of_adversary = torch.optim.AdamW(
            adversary.parameters(), lr=config.learning_rate, weight_decay=0, fused=True
        )
        of_fixed, of_mixed = likelihood().to(device), likelihood().to(device)
        own = (train, validation, method, sites, seed)
        return cls(*own, network, adversary, of_fixed, of_mixed, of_adversary)

    def begin(self, epoch: int) -> None:
        """The E-step of Monte Carlo EM."""
        effects = self.network.effects
        if isinstance(effects, MonteCarloEffects):
            draws = keyed_generator(self.seed, "monte_carlo_em", epoch)
            effects.draw(*_residuals(self.network, self.train), draws)

    def step(self, rows: Int64[np.ndarray, " batch"], batch: np.ndarray, number: int) -> dict[str, Tensor]:
        """The losses of one batch; the adversary has its turn first."""
        method, effects, device = self.method, self.network.effects, device_of(self.network)
        evidence = self.train.evidence[rows]
        site = torch.from_numpy(self.train.site[rows]).to(device)
        variational = method.effects == "variational"
        draws = keyed_generator(self.seed, "site_effects", number) if variational else None
        with mixed_precision(device):
            outputs = self.network(to_input(batch, device), one_hot(site, self.sites), draws)
        fixed, mixed, hidden, last = (values.float() for values in outputs)
        against = {}
        if method.corrector == "adversary":
            against["adversary_loss"] = found = self.adversary.cross_entropy(hidden.detach(), site)
            self.of_adversary.zero_grad(set_to_none=True)
            found.backward()
            self.of_adversary.step()
        if isinstance(effects, LmmnnEffects):
            loss = effects.loss(torch.from_numpy(evidence.value).to(fixed) - fixed, site)
        elif isinstance(effects, MonteCarloEffects):
            loss = effects.loss(torch.from_numpy(evidence.value).to(fixed) - fixed, last, site)
        else:
            loss = self.of_mixed(mixed, evidence).mean()
        if variational:
            loss = loss + method.fixed_weight * self.of_fixed(fixed, evidence).mean()
            loss = loss + effects.divergence() / len(self.train)
        if method.corrector == "adversary":
            loss = loss - method.adversary_weight * self.adversary.withheld(hidden, site)
        return {"loss": loss, **against}

    def validate(self, average: SiteNetwork) -> float | None:
        """The loss of η_M at the true sites of validation subjects; None if there are none."""
        if isinstance(average.effects, LmmnnEffects):
            residual, _, site = _residuals(average, self.train)
            average.effects.predict_intercepts(residual, site)
        elif isinstance(average.effects, MonteCarloEffects):
            average.effects.condition(*_residuals(average, self.train))
        if self.validation is None:
            return None
        evidence, weights = self.validation.evidence, one_hot_rows(self.validation.site, self.sites)
        predicted = predict_with_sites(average, self.validation.inputs, weights)
        fixed, mixed = (torch.from_numpy(values).to(device_of(average)) for values in predicted)
        if self.method.effects == "variational":  # `marginal_likelihood` fits its V here
            self.of_fixed.validate(fixed, evidence)
        return self.of_mixed.validate(mixed, evidence)


def _optimiser(network: SiteNetwork, config: Predictor) -> torch.optim.Optimizer:
    """AdamW; only the weights of the network decay, not those of its random effects."""
    of_effects = [] if network.effects is None else list(network.effects.parameters())
    groups = [
        {"params": list(network.network.parameters()), "weight_decay": config.weight_decay},
        {"params": of_effects, "weight_decay": 0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def predict_with_sites(
    network: SiteNetwork, inputs: Inputs, site: Float[np.ndarray, "n site"] | None = None
) -> tuple[Float32[np.ndarray, "n k"], Float32[np.ndarray, "n k"]]:
    """The fixed-effects and the mixed-effects predictions, with random effects at their posterior means.

    `site` has a row per subject: one-hot, or probabilities of the training sites. Without it the second
    prediction is the first.
    """
    fixed, mixed = (values.cpu().numpy() for values in outputs_of(network, inputs, site)[:2])
    return fixed, mixed


@fixed_threads(1)
@torch.no_grad()
def outputs_of(
    network: SiteNetwork, inputs: Inputs, site: Float[np.ndarray, "n site"] | None = None
) -> Outputs:
    """All that a pass of `predict_with_sites` gives, on the network's device."""
    network.eval()
    device, found = device_of(network), []
    for i in range(0, len(inputs), _INFERENCE_BATCH):
        part = slice(i, i + _INFERENCE_BATCH)
        weights = None if site is None else torch.from_numpy(site[part]).float().to(device)
        found.append(network(to_input(inputs[part], device), weights))
    return Outputs(*(torch.cat(parts).float() for parts in zip(*found, strict=True)))


def one_hot(site: Int64[Tensor, " n"], sites: int) -> Float32[Tensor, "n site"]:
    """Rows with a 1 at the site."""
    return nn.functional.one_hot(site, sites).float()


def one_hot_rows(site: Int64[np.ndarray, " n"], sites: int) -> Float32[np.ndarray, "n site"]:
    """Rows with a 1 at the site."""
    return np.eye(sites, dtype=np.float32)[site]


def _residuals(
    network: SiteNetwork, train: SiteExamples
) -> tuple[Float[Tensor, "subject k"], Float[Tensor, "subject feature"], Int64[Tensor, " subject"]]:
    """What random effects follow from: residuals of all training subjects, their last hidden layer, sites."""
    outputs = outputs_of(network, train.inputs)
    device = outputs.fixed.device
    residual = torch.from_numpy(train.evidence.guess()).to(device) - outputs.fixed
    return residual.float(), outputs.last, torch.from_numpy(train.site).to(device)
