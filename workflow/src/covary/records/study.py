"""A study: the structural model with its true parameters, and who is observed and dosed when."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from covary import nlme, store
from covary.config.records import Longitudinal, PopulationFit
from covary.config.visits import Missing
from covary.dataset import names
from covary.dataset.groups import design_of, label_design
from covary.errors import UserError
from covary.nlme.check import check_model
from covary.nlme.fit import typical_covariates
from covary.nlme.neural import networks
from covary.nlme.scaled import in_standard_units
from covary.nlme.shift import with_mean
from covary.nlme.variational import METHODS
from covary.records.regimens import planned_design
from covary.records.truth import initial_parameters, true_parameters
from covary.records.visits import check_mechanisms, visits_that_take_place


class Study:
    """A structural model, its true parameters, and the design of all subjects of a dataset.

    Random effects are in standard units: ζ ~ N(0, I), and the model sees η = L ζ with L L' = Ω, the true
    covariance. Methods take the subjects' numbers in the dataset, by default all; times are in hours.

    The design of the engine has every time of the schedule for every subject, so that each prediction is a
    whole curve. `scheduled` says which of these visits a subject's own schedule has.
    """

    def __init__(
        self, model: nlme.OdeModel | nlme.ClosedFormModel, truth: nlme.Parameters, design: nlme.Design
    ):
        nlme.configure()
        truth = truth.concrete()
        self.natural_truth = truth
        self.model = in_standard_units(model, truth.omega)
        self.truth = dataclasses.replace(
            truth, omega=np.eye(len(truth.omega)), blocks=tuple((i,) for i in range(len(truth.omega)))
        )
        self.scheduled = np.asarray(design.observed)
        self.design = dataclasses.replace(design, observed=np.ones_like(self.scheduled))

    @classmethod
    def planned(cls, settings: Longitudinal, n_subjects: int, seed: int) -> "Study":
        """The study that a configuration describes, for so many subjects; `seed` draws their covariates.

        Raises UserError if the model has no parameters of its own, or a setting does not fit it.
        """
        model = nlme.load_model(settings.model)
        study = cls(model, true_parameters(model, settings), planned_design(settings, n_subjects, seed))
        check_mechanisms(settings.missing, study.scheduled, model.random_effects)
        return study

    @classmethod
    def of(cls, dataset: Path, model: str) -> "Study":
        """The study of a dataset, whose group `design` holds all but the model's code."""
        group = store.read(dataset, names.DESIGN)
        truth = nlme.parameters_from_json(group.attrs["parameters"])
        n_subjects = store.read(dataset, names.SUBJECTS).sizes["subject"]
        return cls(nlme.load_model(model), truth, design_of(group, n_subjects))

    @property
    def times_h(self) -> Float64[np.ndarray, " time"]:
        """The visits of the first subject."""
        return self.design.time_h[0]

    def label(self):
        """The group `design` of the dataset."""
        design = dataclasses.replace(self.design, observed=self.scheduled)
        return label_design(design, self.natural_truth, self.model)

    def predictions(
        self,
        eta: Float[np.ndarray, "row random_effect"],
        subjects: Int[np.ndarray, " row"] | slice = slice(None),
    ) -> Float64[np.ndarray, "row time"]:
        """f(eta) of these subjects under the true parameters, without residual error."""
        return nlme.predictions(self.model, self.truth, eta, self._rows(subjects))

    def simulate(
        self,
        eta: Float[np.ndarray, "row random_effect"],
        subjects: Int[np.ndarray, " row"] | slice = slice(None),
        *,
        seed: int,
        stream: str,
        start: int = 0,
    ) -> Float64[np.ndarray, "row time"]:
        """Observations of these subjects with residual error, under the true parameters.

        The residual error of row i is keyed by (seed, stream, start + i). Raises ValueError that names the
        first subject whose differential equation could not be solved.
        """
        design = self._rows(subjects)
        draws = range(start, start + len(eta))
        simulation = nlme.simulate(self.model, self.truth, eta, design, seed, stream=stream, subjects=draws)
        if failed := np.flatnonzero(simulation.status).tolist():
            number = np.arange(self.design.n_subjects)[subjects][failed[0]]
            raise UserError(
                f"{len(failed)} of {len(eta)} records could not be simulated; the first is that of subject "
                f"{number}, with random effects {eta[failed[0]].round(3).tolist()}"
            )
        return simulation.observation

    def observed(
        self,
        observation: Float[np.ndarray, "row time"],
        eta: Float[np.ndarray, "row random_effect"],
        missing: Sequence[Missing],
        *,
        seed: int,
        start: int,
    ) -> Float[np.ndarray, "row time"]:
        """What is observed of the subjects `start …`: NaN at visits that are not theirs or do not happen."""
        some = slice(start, start + len(eta))
        times_h = self._rows(some).time_h
        effects = self.model.random_effects
        scheduled = self.scheduled_of(some)
        present = visits_that_take_place(
            missing, times_h, scheduled, observation, eta, effects, seed=seed, start=start
        )
        return np.where(present & scheduled, observation, np.nan)

    def scheduled_of(self, subjects: slice) -> Bool[np.ndarray, "#row time"]:
        """Which visits the schedules of these subjects have: one row per subject, or one row for all."""
        return self.scheduled if len(self.scheduled) == 1 else self.scheduled[subjects]

    def records(
        self,
        observation: Float[np.ndarray, "row time"],
        subjects: Int[np.ndarray, " row"] | slice = slice(None),
    ) -> nlme.Records:
        """Observations with the design of these subjects; NaN is a missing visit."""
        return nlme.Records.of(self._rows(subjects), observation, missing_as_nan=True)

    def check(self, fit: PopulationFit) -> None:
        """Raise UserError, in one line, if the model is not complete or does not fit design and fit."""
        try:
            check_model(self.model, self.truth, self.design)
            self.initial(fit)
            if fit.method == "amortised":
                with_mean(
                    self.model,
                    self.initial(fit),
                    np.zeros(len(self.truth.omega)),
                    typical_covariates(self.design),
                )
            if fit.method in METHODS and networks(self.model):
                raise UserError(
                    f"method {fit.method} would train its network, which a run does not keep; use another "
                    "longitudinal.fit.method, or `ladder`"
                )
        except ValueError as error:
            raise UserError(f"longitudinal.model: {' '.join(str(error).split())}") from error

    def initial(self, fit: PopulationFit) -> nlme.Parameters:
        """The parameters from which the population fit starts."""
        return initial_parameters(self.model, self.truth, fit)

    def _rows(self, subjects: Int[np.ndarray, " row"] | slice) -> nlme.Design:
        return self.design.rows(np.arange(self.design.n_subjects)[subjects])
