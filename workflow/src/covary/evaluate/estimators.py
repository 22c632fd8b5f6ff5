"""What a wrong or a flexible structural model costs in association found.

One model made the records; the estimator may know another. The random effects of the other model are not
those that made the records, and two such models may be the same up to any one-to-one change of their random
effects. So `eta_hat` is regressed on the other model's estimates, linearly, over training subjects, where it
is known because the records are simulated; R² is that of test subjects. Outcomes need no such regression.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64

from covary import nlme
from covary.config.ladder import Rung
from covary.evaluate.ladder import model_of
from covary.evaluate.metrics import r2_of_sums, subject_statistics
from covary.nlme.neural import with_weights
from covary.resampling import Resamples, percentile_interval

# What is explained, by what: eta_hat by the record, by eta itself, by the image; the record by the image.
MEASURES = ("record", "carried", "found", "outcome")


class Fitted(NamedTuple):
    """A fitted model of the ladder."""

    model: nlme.OdeModel | nlme.ClosedFormModel
    parameters: nlme.Parameters

    @classmethod
    def read(cls, rung: Rung, file: Path) -> "Fitted":
        """Read what `evaluate.ladder.fit_in_text` has written."""
        said = json.loads(file.read_text(encoding="utf-8"))
        model = with_weights(model_of(rung), np.array(said["weights"]))
        return cls(model, nlme.parameters_from_json(json.dumps(said["parameters"])))

    @property
    def sd(self) -> Float64[np.ndarray, " k"]:
        """Standard deviations of the random effects."""
        return np.sqrt(np.diag(self.parameters.omega))

    def estimates(self, records: nlme.Records) -> Float64[np.ndarray, "subject k"]:
        """Empirical Bayes estimates in standard deviations."""
        return nlme.empirical_bayes(self.model, self.parameters, records).eta / self.sd

    def outcomes(
        self, effects: Float[np.ndarray, "subject k"], design: nlme.Design
    ) -> Float64[np.ndarray, "subject time"]:
        """Predictions from random effects in standard deviations."""
        return nlme.predictions(self.model, self.parameters, effects * self.sd, design)


class Estimator(NamedTuple):
    """What one model makes of records and images, in standard deviations of its own random effects."""

    estimate: Float[np.ndarray, "training k"]  # from the records of training subjects
    test_estimate: Float[np.ndarray, "test k"]
    predicted: Float[np.ndarray, "test k"]  # from the images
    outcome: Float[np.ndarray, "test time"]  # the records that `predicted` gives


class Truth(NamedTuple):
    """What is known because records are simulated."""

    eta: Float[np.ndarray, "training k"]  # in the image
    eta_hat: Float[np.ndarray, "training k"]  # in the record
    test_eta: Float[np.ndarray, "test k"]
    test_eta_hat: Float[np.ndarray, "test k"]
    outcome: Float[np.ndarray, "test time"]  # without residual error


def association_table(
    estimators: Mapping[str, Estimator], truth: Truth, *, seed: int, resamples: int
) -> pd.DataFrame:
    """R² under each estimator's model, with bootstrap intervals over test subjects.

    Measures: `record`, eta_hat explained by estimates from the record; `carried`, by what a perfect reading
    of eta from the image, quadratic in eta, would predict of them; `found`, by what the predictor makes of
    the image; `outcome`, differences of noise-free records between subjects explained by the predictor.
    `gain` is the difference to the first estimator, with a paired interval.
    """
    some = Resamples(len(truth.test_eta), seed=seed, resamples=resamples)
    rows: list[dict] = []
    first: dict[str, tuple] = {}
    for name, of in estimators.items():
        to_truth = _regression(of.estimate, truth.eta_hat)
        from_eta = _regression(_quadratic(truth.eta), of.estimate)
        level = truth.outcome.mean(axis=0)
        pairs = {
            "record": (truth.test_eta_hat, to_truth(of.test_estimate)),
            "carried": (truth.test_eta_hat, to_truth(from_eta(_quadratic(truth.test_eta)))),
            "found": (truth.test_eta_hat, to_truth(of.predicted)),
            "outcome": (truth.outcome - level, of.outcome - level),
        }
        for measure, pair in pairs.items():
            statistics = subject_statistics(*(part.astype(np.float64) for part in pair))
            n = len(statistics)
            value = r2_of_sums(statistics.sum(axis=0), n)[0]
            resampled = r2_of_sums(some.sums(statistics), n)[:, 0]
            low, high = percentile_interval(resampled)
            base, base_resampled = first.setdefault(measure, (value, resampled))
            gain_low, gain_high = percentile_interval(resampled - base_resampled)
            rows.append(
                {"model": name, "measure": measure, "r2": value, "low": low, "high": high,
                 "gain": value - base, "gain_low": gain_low, "gain_high": gain_high}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _regression(x: Float[np.ndarray, "subject p"], y: Float[np.ndarray, "subject q"]):
    """The linear least-squares prediction of y from x."""
    coefficients = np.linalg.lstsq(_with_constant(x), y.astype(np.float64), rcond=None)[0]
    return lambda new: _with_constant(new) @ coefficients


def _with_constant(x) -> Float64[np.ndarray, "subject _"]:
    return np.column_stack([np.ones(len(x)), x.astype(np.float64)])


def _quadratic(x: Float[np.ndarray, "subject k"]) -> Float64[np.ndarray, "subject _"]:
    i, j = np.triu_indices(x.shape[1])
    return np.column_stack([x, x[:, i] * x[:, j]]).astype(np.float64)
