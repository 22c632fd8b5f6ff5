"""The test subjects of a finished dataset, in the form that the tables need."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import xarray as xr

from covary import store
from covary.config.predictors import Predictor
from covary.dataset import names
from covary.dataset.scenario import Scenario
from covary.dataset.subjects import members
from covary.evaluate.effects import RandomEffects
from covary.evaluate.ledger import Chain
from covary.evaluate.power import TrainingSizes
from covary.records.visits import check_observed


class HeldOut:
    """What is known and predicted of the test subjects, read from the dataset at `path`."""

    def __init__(self, path: Path, predictors: Sequence[Predictor]):
        self.path, self.predictors = path, predictors

    @property
    def names(self) -> list[str]:
        """The names of the predictors."""
        return [predictor.name for predictor in self.predictors]

    @cached_property
    def subjects(self) -> slice:
        """The test subjects' numbers."""
        return members(self._read(names.SUBJECTS), "test")

    @cached_property
    def eta(self) -> np.ndarray:
        """Random effects in the image, (subject, random_effect)."""
        return self._read(names.SUBJECTS)["eta"][self.subjects].values

    @cached_property
    def site(self) -> np.ndarray | None:
        """The test subjects' sites, where there are sites."""
        subjects = self._read(names.SUBJECTS)
        if "site" not in subjects:
            return None
        return subjects["site"][self.subjects].values.astype(np.int64)

    @cached_property
    def effects(self) -> list[str]:
        """The names of the random effects."""
        return list(self._read(names.DESIGN).attrs["random_effects"])

    def observation(self, noise_variance: float) -> np.ndarray:
        """Observed records, (subject, time); NaN at visits that are missing. Raises UserError if all are."""
        scenario = Scenario(noise_variance).name
        observation = self._read(names.records(scenario))["observation"][self.subjects].values
        check_observed(observation, "test", scenario)
        return observation

    def random_effects(self, noise_variance: float, *, oracles: bool = False) -> RandomEffects:
        """Random effects at one noise level by every predictor, and by the oracles that see eta if wanted."""
        scenario = Scenario(noise_variance).name
        wanted = self.names
        if oracles:
            wanted += list(dict.fromkeys(names.oracle(p.objective) for p in self.predictors))
        predictions = {name: self._read(names.predictions(scenario, name)) for name in wanted}
        return RandomEffects(
            noise_variance,
            self.effects,
            self._read(names.records(scenario))["eta_hat"][self.subjects].values,
            self._read(names.estimates(scenario))["eta_approx"][self.subjects].values,
            {name: prediction["eta_pred"].values for name, prediction in predictions.items()},
            {name: prediction["covariance"].values for name, prediction in predictions.items()},
        )

    def chain(self, noise_variance: float) -> Chain:
        """The stages of the association ledger at one noise level."""
        scenario = Scenario(noise_variance).name

        def predicted(predictor: str, variable: str) -> np.ndarray:
            return self._read(names.predictions(scenario, predictor))[variable].values

        return Chain(
            noise_variance,
            self.effects,
            self.eta,
            {p.name: self._read(names.readings(p.label))["eta_read"].values for p in self.predictors},
            {p.name: predicted(names.oracle(p.objective), names.pred_read(p.label)) for p in self.predictors},
            {p.name: predicted(p.name, "eta_pred") for p in self.predictors},
            self.site,
        )

    def training_sizes(self, file: Path) -> TrainingSizes:
        """A learning curve: the predictors of `file`, trained on fewer subjects, and that trained on all."""
        with np.load(file) as smaller:
            noise_variance, predictor = float(smaller["noise_variance"]), str(smaller["predictor"])
            full = self.random_effects(noise_variance)
            sizes = np.array([*smaller["sizes"], members(self._read(names.SUBJECTS), "train").stop])
            eta_pred = np.concatenate([smaller["eta_pred"], full.eta_pred[predictor][None]])
        order = np.argsort(sizes, kind="stable")
        return TrainingSizes(
            noise_variance, predictor, full.eta_hat, full.eta_approx, sizes[order], eta_pred[order]
        )

    def _read(self, group: str) -> xr.Dataset:
        return store.read(self.path, group)
