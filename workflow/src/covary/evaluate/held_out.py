"""The test subjects of a finished dataset, in the form that the tables need."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import xarray as xr

from covary import store
from covary.config.predictors import Predictor
from covary.dataset.groups import eta_pred_read
from covary.dataset.subjects import members
from covary.evaluate.effects import RandomEffects
from covary.evaluate.ledger import Chain
from covary.evaluate.power import TrainingSizes


class HeldOut:
    """What is known and predicted of the test subjects, read from the dataset at `path`.

    Noise variances are given as they are written in names.
    """

    def __init__(self, path: Path, predictors: Sequence[Predictor]):
        self.path, self.predictors = path, predictors

    @cached_property
    def subjects(self) -> slice:
        """The test subjects' numbers."""
        return members(self._read("subjects"), "test")

    @cached_property
    def eta(self) -> np.ndarray:
        """Random effects in the image, (subject, random_effect)."""
        return self._read("subjects")["eta"][self.subjects].values

    def observation(self, noise: str) -> np.ndarray:
        """Observed records, (subject, time)."""
        return self._read(f"longitudinal/noise_{noise}")["observation"][self.subjects].values

    def random_effects(self, noise: str, *, oracles: bool = False) -> RandomEffects:
        """Random effects at one noise level by every predictor, and by the oracles that see eta if wanted."""
        names = [predictor.name for predictor in self.predictors]
        if oracles:
            names += dict.fromkeys(f"oracle_{predictor.objective}" for predictor in self.predictors)
        predictions = {name: self._read(f"predictions/noise_{noise}/{name}") for name in names}
        return RandomEffects(
            float(noise),
            self._read(f"longitudinal/noise_{noise}")["eta_hat"][self.subjects].values,
            self._read(f"estimates/noise_{noise}")["eta_approx"][self.subjects].values,
            {name: prediction["eta_pred"].values for name, prediction in predictions.items()},
            {name: prediction["covariance"].values for name, prediction in predictions.items()},
        )

    def chain(self, noise: str) -> Chain:
        """The stages of the association ledger at one noise level."""

        def predicted(group: str, variable: str) -> np.ndarray:
            return self._read(f"predictions/noise_{noise}/{group}")[variable].values

        return Chain(
            float(noise),
            self.eta,
            {
                p.name: self._read(f"predictions/noise_free/{p.label}")["eta_read"].values
                for p in self.predictors
            },
            {p.name: predicted(f"oracle_{p.objective}", eta_pred_read(p.label)) for p in self.predictors},
            {p.name: predicted(p.name, "eta_pred") for p in self.predictors},
        )

    def training_sizes(self, file: Path) -> TrainingSizes:
        """A learning curve: the predictors of `file`, trained on fewer subjects, and that trained on all.

        `file` is named `noise_<σ²>/<predictor>.npz`.
        """
        noise, predictor = file.parent.name.removeprefix("noise_"), file.stem
        full = self.random_effects(noise)
        with np.load(file) as smaller:
            sizes = np.array([*smaller["sizes"], members(self._read("subjects"), "train").stop])
            eta_pred = np.concatenate([smaller["eta_pred"], full.eta_pred[predictor][None]])
        order = np.argsort(sizes, kind="stable")
        return TrainingSizes(
            float(noise), predictor, full.eta_hat, full.eta_approx, sizes[order], eta_pred[order]
        )

    def _read(self, group: str) -> xr.Dataset:
        return store.read(self.path, group)
