"""Networks with random effects of sites for tables of features: regression and classification.

model = SiteModel("armed", seed=1).fit(x, y, site)
model.predict_mixed(x_new, site_new)  # at training sites
model.predict_mixed(x_new)            # at sites that are new, or not known
model.site_effects()
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Int64, Shaped

from covary.config.predictors import Predictor
from covary.config.site_methods import NORMAL_ERRORS, SiteMethod
from covary.dataset import sites
from covary.errors import UserError
from covary.predict.armed import SiteIntercepts
from covary.predict.combat import fit_corrector, harmonised
from covary.predict.evidence import Targets
from covary.predict.objectives.likelihoods import CategoricalLikelihood, Classes, NormalLikelihood
from covary.predict.site_training import SiteExamples, one_hot_rows, predict_with_sites, train_with_sites

_USUAL = {
    "network": "perceptron",
    "objective": "ebe_mse",
    "width": 32,
    "epochs": 60,
    "batch_size": 32,
    "learning_rate": 0.005,
    "learning_rate_schedule": "constant",
    "max_gradient_norm": 10.0,
    "weight_decay": 0.0,
    "ema_decay": 0.99,
}
_SITE_PREDICTOR = {"width": 32, "epochs": 30}

Features = Float[np.ndarray, "subject feature"]
Names = Sequence[Any] | np.ndarray


class SiteModel:
    """A perceptron whose predictions hold at known and at new sites.

    `method` is a name out of `covary.config.site_methods.METHODS` or a `SiteMethod`. `task` is `regression`
    (one or several targets) or `classification`. `training` replaces settings of the training by name, such
    as `epochs`, `width`, `batch_size`, `learning_rate` or `ema_decay`; see
    `covary.config.predictors.Predictor`. With `new_sites`, `fit` also trains the classifier that predicts
    the site of subjects at new sites. Features and targets are standardised inside. The result depends
    on the data, the settings and the seed only. Raises UserError for an unknown method or setting.

    ComBat (`combat`, `combat_target`, `combat_leak_free`, see `covary.predict.combat`) harmonises features by
    the site of their subject, so its fixed-effects predictions depend on `site`, too. A name that is not one
    of training is a new site. Without `site`, the subjects are taken as those of one new site.
    `combat_target` needs `y` of test subjects: what it predicts is an optimistic control.
    """

    def __init__(
        self,
        method: str | SiteMethod = "armed",
        task: str = "regression",
        *,
        seed: int,
        new_sites: bool = True,
        **training: Any,
    ):
        self.method = method if isinstance(method, SiteMethod) else SiteMethod.model_validate(method)
        if task not in ("regression", "classification"):
            raise UserError(f"task must be regression or classification, got {task!r}")
        if task == "classification" and self.method.effects in NORMAL_ERRORS:
            raise UserError(f"method: {self.method.effects} is for regression; its likelihood is that of "
                            "normal errors")  # fmt: skip
        self.task, self.seed = task, seed
        self.new_sites = new_sites and self.method.uses_sites
        self.config = Predictor.model_validate(_USUAL | training)

    def fit(
        self,
        x: Features,
        y: Shaped[np.ndarray, " subject"] | Float[np.ndarray, "subject target"],
        site: Sequence[Any] | np.ndarray,
        checkpoint_dir: Path | None = None,
    ) -> "SiteModel":
        """Train the network, and the classifier that predicts the site of subjects at new sites.

        A training that was killed goes on if `checkpoint_dir` is the same. Raises UserError if arrays
        differ in length, a number is not finite, or a site is missing (see `covary.dataset.sites.encode`);
        with ComBat also as `covary.predict.combat.Combat.fit` does.
        """
        code, self.sites = sites.encode(site)
        for name, values in (("x", x), ("y", y)):
            if len(values) != len(code):
                raise UserError(f"{name} must have one row per subject, {len(code)}, got {len(values)}")
        if not np.isfinite(x).all():
            raise UserError("x must be finite; fill missing features first")
        self._mean, self._scale = x.mean(axis=0), x.std(axis=0)
        self._scale[self._scale == 0] = 1.0
        features = self._standardised(x)
        with tempfile.TemporaryDirectory() as temporary:
            folder = checkpoint_dir or Path(temporary)
            evidence, likelihood = self._evidence(y)
            known = self._known(site, y)
            self._combat = fit_corrector(self.method.corrector, features, *known)
            seen = harmonised(self._combat, features, *known)
            self.network, self.history = train_with_sites(
                SiteExamples(seen, evidence, code), None, likelihood, self.config, self.method,
                len(self.sites), self.seed, folder / "network",
            )  # fmt: skip
            if self.new_sites:  # it sees the features as they are, in which the site is
                config = self.config.model_copy(update=_SITE_PREDICTOR)
                labels = SiteExamples(features, Classes(code, len(self.sites)), code)
                self.site_predictor, _ = train_with_sites(
                    labels, None, CategoricalLikelihood, config, SiteMethod(), len(self.sites), self.seed,
                    folder / "site_predictor",
                )  # fmt: skip
        return self

    def predict_fixed(
        self, x: Features, site: Names | None = None, y: np.ndarray | None = None
    ) -> Float[np.ndarray, "subject ..."]:
        """What the features alone say: targets, or probabilities of the classes."""
        return self._result(predict_with_sites(self.network, self._inputs(x, site, y))[0])

    def predict_mixed(
        self, x: Features, site: Names | None = None, y: np.ndarray | None = None
    ) -> Float[np.ndarray, "subject ..."]:
        """The same with the effects of the sites.

        Without `site`, the random effects are averages over the training sites, weighted by the probabilities
        that the site predictor gives to them; with ComBat, this takes one call per new site. Raises UserError
        for a site that was not in training, if the method has effects of sites.
        """
        if not self.method.uses_sites:
            return self.predict_fixed(x, site, y)
        weights = (
            self.site_probabilities(x) if site is None else one_hot_rows(self._codes(site), len(self.sites))
        )
        return self._result(predict_with_sites(self.network, self._inputs(x, site, y), weights)[1])

    def site_probabilities(self, x: Features) -> Float32[np.ndarray, "subject site"]:
        """The probabilities of the training sites. Raises UserError if no classifier was trained."""
        if not self.new_sites:
            raise UserError("the site predictor needs new_sites=True and a method with effects of sites")
        return _probabilities(predict_with_sites(self.site_predictor, self._standardised(x))[0])

    def hidden(
        self, x: Features, site: Names | None = None, y: np.ndarray | None = None
    ) -> Float32[np.ndarray, "subject activation"]:
        """Activations of all hidden layers of the fixed-effects network, which the adversary sees."""
        with torch.no_grad():
            return self.network(torch.from_numpy(self._inputs(x, site, y))).hidden.numpy()

    def sensitivity(
        self, x: Features, site: Names | None = None, y: np.ndarray | None = None
    ) -> Float[np.ndarray, " feature"]:
        """Mean |∂η_F/∂x| of each feature over subjects and outputs: how much η_F relies on it.

        Outputs are log odds, or targets in standard deviations; features are in their own units. ComBat's
        estimates of a new site are held fixed.
        """
        features = torch.from_numpy(self._inputs(x, site, y)).requires_grad_()
        output = self.network(features).fixed
        slopes = [torch.autograd.grad(column.sum(), features, retain_graph=True)[0] for column in output.T]
        sizes = torch.stack(slopes).abs()
        if self._combat is not None:
            sizes = sizes * torch.from_numpy(
                self._combat.line(self._standardised(x), *self._known(site, y)).slope
            )
        return sizes.mean(dim=(0, 1)).double().numpy() / self._scale

    def intercepts(self) -> SiteIntercepts:
        """Random intercepts of the training sites, in the units of y (regression) or log odds."""
        found = self.network.intercepts()
        scale = self._spread if self.task == "regression" else 1.0
        return SiteIntercepts(found.mean * scale, found.sd * scale)

    def site_effects(self) -> pd.DataFrame:
        """The intercept of each training site for each output: site, output, effect, sd."""
        found = self.intercepts()
        rows = [
            (site, output, found.mean[i, output], found.sd[i, output])
            for i, site in enumerate(self.sites)
            for output in range(found.mean.shape[1])
        ]
        return pd.DataFrame(rows, columns=["site", "output", "effect", "sd"])

    def _standardised(self, x: Features) -> Float32[np.ndarray, "subject feature"]:
        return ((x - self._mean) / self._scale).astype(np.float32)

    def _inputs(
        self, x: Features, site: Names | None, y: np.ndarray | None
    ) -> Float32[np.ndarray, "subject feature"]:
        """What the network sees: standardised features, which ComBat harmonises if there is one."""
        return harmonised(self._combat, self._standardised(x), *self._known(site, y))

    def _known(
        self, site: Names | None, y: np.ndarray | None
    ) -> tuple[np.ndarray | None, Float32[np.ndarray, "subject covariate"] | None]:
        """What ComBat may use of subjects beside their features: their site and their target."""
        return None if site is None else np.asarray(site, object), None if y is None else self._target(y)

    def _target(self, y: np.ndarray) -> Float32[np.ndarray, "subject covariate"]:
        """Targets in standard deviations, or the classes after the first one as columns of 0 and 1."""
        if self.task == "classification":
            return (y[:, None] == self.classes[1:]).astype(np.float32)
        return ((np.asarray(y, np.float64).reshape(len(y), -1) - self._level) / self._spread).astype(
            np.float32
        )

    def _evidence(self, y: np.ndarray):
        if self.task == "classification":
            self.classes, labels = np.unique(y, return_inverse=True)
            return Classes(labels, len(self.classes)), CategoricalLikelihood
        targets = np.asarray(y, np.float64).reshape(len(y), -1)
        if not np.isfinite(targets).all():
            raise UserError("y must be finite")
        self._flat = np.ndim(y) == 1
        self._level, self._spread = targets.mean(axis=0), targets.std(axis=0)
        return Targets(self._target(y)), lambda: NormalLikelihood(targets.shape[1])

    def _result(self, output: Float32[np.ndarray, "subject k"]) -> Float[np.ndarray, "subject ..."]:
        if self.task == "classification":
            return _probabilities(output)
        values = output * self._spread + self._level
        return values[:, 0] if self._flat else values

    def _codes(self, site: Sequence[Any] | np.ndarray) -> Int64[np.ndarray, " subject"]:
        number = {name: i for i, name in enumerate(self.sites)}
        unknown = [name for name in np.asarray(site, object).tolist() if name not in number]
        if unknown:
            raise UserError(
                f"site: {unknown[0]!r} was not in training; leave `site` out to predict at new sites"
            )
        return np.array([number[name] for name in np.asarray(site, object).tolist()], dtype=np.int64)


def _probabilities(log_odds: Float32[np.ndarray, "subject k"]) -> Float32[np.ndarray, "subject class"]:
    """Of all classes, from the log odds of each against the first one."""
    logits = np.pad(log_odds, ((0, 0), (1, 0)))
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)
