"""A method for sites in one scenario: settings chosen on sites that are left out, one training, predictions.

Test sites have no part in any choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Int64, UInt8

from covary.config.site_methods import SiteMethod, SiteTraining, TrainedMethod
from covary.predict.armed import SiteNetwork
from covary.predict.combat import Combat, Line, fit_corrector, harmonised
from covary.predict.evidence import Evidence, Targets
from covary.predict.examples import Inputs
from covary.predict.fit import Level
from covary.predict.network import ENCODING, input_of
from covary.predict.objectives.catalogue import OBJECTIVES
from covary.predict.objectives.likelihoods import CategoricalLikelihood, Classes, NormalLikelihood, with_first
from covary.predict.site_training import (
    SiteExamples,
    one_hot_rows,
    outputs_of,
    predict_with_sites,
    train_with_sites,
)
from covary.vae import VAE, encode

_SITE_PREDICTOR = {"epochs": 20}

Numbers = Int64[np.ndarray, " subject"]
Estimates = Float[np.ndarray, "subject random_effect"]


@dataclass(frozen=True)
class Chosen:
    """Settings that do best on sites that are left out, and the errors of all candidates there.

    `unseen` says which prediction serves subjects at unseen sites: the fixed-effects one, or the mixed one at
    the predicted site. `errors` has a row per candidate: adversary_weight, weight_decay, fixed, mixed (mean
    squared errors of empirical Bayes estimates).
    """

    method: SiteMethod
    weight_decay: float
    adversary_weight: float  # NaN without an adversary
    unseen: Literal["fixed", "mixed"]
    errors: pd.DataFrame


@dataclass(frozen=True)
class TrainedSites:
    """The network of a method, the classifier of sites if the method needs one, and the settings.

    Subjects are given with their sites and estimates of their random effects. Apart from the site at training
    sites, only ComBat uses these: it harmonises the inputs by the site, and `combat_target` by the estimates.
    The classifier sees the inputs as they are.
    """

    network: SiteNetwork
    site_predictor: SiteNetwork | None
    combat: Combat | None
    chosen: Chosen
    history: pd.DataFrame
    centre: Float[np.ndarray, "2 random_effect"]

    def at_seen(
        self, inputs: np.ndarray, site: Numbers, estimates: Estimates
    ) -> Float32[np.ndarray, "2 subject random_effect"]:
        """The fixed-effects and the mixed-effects prediction of subjects at training sites."""
        weights = one_hot_rows(site, self.network.sites)
        return self._centred(
            predict_with_sites(self.network, harmonised(self.combat, inputs, site, estimates), weights)
        )

    def at_unseen(
        self, inputs: np.ndarray, site: Numbers, estimates: Estimates
    ) -> Float32[np.ndarray, "2 subject random_effect"]:
        """The same with the probabilities of the training sites, as the classifier predicts them."""
        weights = None
        if self.site_predictor is not None:
            weights = _probabilities(self.site_predictor, inputs)
        return self._centred(
            predict_with_sites(self.network, harmonised(self.combat, inputs, site, estimates), weights)
        )

    def line(self, inputs: np.ndarray, site: Numbers, estimates: Estimates) -> Line | None:
        """How ComBat harmonises the inputs of these subjects; None without ComBat."""
        return None if self.combat is None else self.combat.line(inputs, site, estimates)

    def _centred(self, both: tuple[np.ndarray, np.ndarray]) -> Float32[np.ndarray, "2 subject random_effect"]:
        return np.stack(both) - self.centre[:, None].astype(np.float32)


def train_method(
    level: Level,
    inputs: Mapping[str, np.ndarray],
    site: Mapping[str, Numbers],
    parts: Mapping[str, slice],
    method: TrainedMethod,
    training: SiteTraining,
    *,
    seed: int,
    checkpoint_dir: Path,
) -> TrainedSites:
    """Choose settings, then train on all training subjects; stop by validation subjects at the true site.

    `inputs`, `site` and `parts` have `train` and `validation`; sites are numbered 0 … C - 1. As with other
    predictors by `marginal_likelihood`, predictions are moved to the mean 0 over validation subjects. The
    target of ComBat is the empirical Bayes estimates, whatever the objective.
    """
    sites, row = int(site["train"].max()) + 1, OBJECTIVES[method.objective]
    evidence = level.evidence(method.objective)
    of_all = level.evidence("ebe_mse").guess()
    estimates = {split: of_all[parts[split]] for split in ("train", "validation")}
    chosen = choose_settings(
        inputs["train"], estimates["train"], site["train"], method, training, seed=seed,
        checkpoint_dir=checkpoint_dir / "left_out",
    )  # fmt: skip
    config = training.predictor(method.objective).model_copy(update={"weight_decay": chosen.weight_decay})
    k = estimates["train"].shape[1]
    combat = fit_corrector(method.corrector, inputs["train"], site["train"], estimates["train"])

    def likelihood():
        return row.loss(level.omega, config.covariance) if row.centred else NormalLikelihood(k)

    examples = [
        SiteExamples(harmonised(combat, inputs[split], site[split], own), evidence[parts[split]], site[split])
        for split, own in estimates.items()
    ]
    network, history = train_with_sites(
        *examples, likelihood, config, chosen.method, sites, seed, checkpoint_dir / "network"
    )
    predictor = None
    if chosen.method.uses_sites:
        predictor = _site_predictor(inputs["train"], site["train"], training, seed, checkpoint_dir / "sites")
    trained = TrainedSites(network, predictor, combat, chosen, history, np.zeros((2, k)))
    if not row.centred:
        return trained
    validation = (values["validation"] for values in (inputs, site, estimates))
    return replace(trained, centre=trained.at_seen(*validation).mean(axis=1))


def choose_settings(
    inputs: np.ndarray,
    estimates: Float[np.ndarray, "subject random_effect"],
    site: Numbers,
    method: TrainedMethod,
    training: SiteTraining,
    *,
    seed: int,
    checkpoint_dir: Path,
) -> Chosen:
    """Leave out groups of sites in turn, and take the candidate whose predictions there are best.

    Candidates are values of λ_g, or of the weight decay where there is no adversary. They are trained on
    empirical Bayes estimates whatever the objective, because this takes seconds. For methods with random
    effects the better one of both predictions also decides what serves subjects at unseen sites. To ComBat,
    sites that are left out are new ones.
    """
    has_adversary = method.corrector == "adversary"
    candidates = [(weight, 0.0) for weight in training.adversary_weights]
    if not has_adversary:
        candidates = [(1.0, decay) for decay in training.weight_decays]
    config = training.predictor("ebe_mse")
    squares = np.zeros((len(candidates), 2))
    for fold in range(training.folds):
        out = site % training.folds == fold
        remaining, code = np.unique(site[~out], return_inverse=True)
        weights = None
        if method.uses_sites:
            predictor = _site_predictor(inputs[~out], code, training, seed, checkpoint_dir / f"sites_{fold}")
            weights = _probabilities(predictor, inputs[out])
        combat = fit_corrector(method.corrector, inputs[~out], site[~out], estimates[~out])
        seen, new = (harmonised(combat, inputs[part], site[part], estimates[part]) for part in (~out, out))
        examples = SiteExamples(seen, Targets(estimates[~out].astype(np.float32)), code)
        for c, (weight, decay) in enumerate(candidates):
            network, _ = train_with_sites(
                examples, None, lambda: NormalLikelihood(estimates.shape[1]),
                config.model_copy(update={"weight_decay": decay}), method.weighted(weight),
                len(remaining), seed, checkpoint_dir / f"{fold}_{c}",
            )  # fmt: skip
            for j, predicted in enumerate(predict_with_sites(network, new, weights)):
                squares[c, j] += np.square(predicted - estimates[out]).sum()
    squares /= estimates.size
    errors = pd.DataFrame(candidates, columns=["adversary_weight", "weight_decay"])
    errors[["fixed", "mixed"]] = squares
    allowed = {"none": [0], "input": [1]}.get(method.effects, [0, 1])
    best, which = np.unravel_index(squares[:, allowed].argmin(), (len(candidates), len(allowed)))
    weight, decay = candidates[best]
    unseen = ("fixed", "mixed")[allowed[which]]
    weight_or_none = weight if has_adversary else np.nan
    return Chosen(method.weighted(weight), decay, weight_or_none, unseen, errors)


def inputs_in_memory(inputs: Inputs) -> np.ndarray:
    """Inputs of which any rows can be taken, such as those of some sites."""
    return inputs if isinstance(inputs, np.ndarray) else inputs.take(np.arange(len(inputs)))


def inputs_of(network: str, vae: VAE | None, images: UInt8[np.ndarray, "subject channel y x"]) -> np.ndarray:
    """What a network of this name sees of images: themselves, or what the image VAE encodes."""
    if input_of(network) != ENCODING:
        return images
    assert vae is not None
    return encode(vae, images)[0]


def hidden_of(network: SiteNetwork, inputs: np.ndarray) -> Float32[np.ndarray, "subject activation"]:
    """Activations of all hidden layers of the fixed-effects network, which the adversary sees."""
    return outputs_of(network, inputs).hidden.cpu().numpy()


def _site_predictor(
    inputs: np.ndarray, site: Numbers, training: SiteTraining, seed: int, checkpoint_dir: Path
) -> SiteNetwork:
    """A classifier of the site, which is trained apart from the network."""
    sites = int(site.max()) + 1
    config = training.predictor("ebe_mse").model_copy(update=_SITE_PREDICTOR)
    labels: Evidence = Classes(site, sites)
    network, _ = train_with_sites(
        SiteExamples(inputs, labels, site), None, CategoricalLikelihood, config, SiteMethod(), sites, seed,
        checkpoint_dir,
    )  # fmt: skip
    return network


def _probabilities(network: SiteNetwork, inputs: np.ndarray) -> Float32[np.ndarray, "subject site"]:
    log_odds = torch.from_numpy(predict_with_sites(network, inputs)[0])
    return with_first(log_odds).softmax(dim=1).numpy()
