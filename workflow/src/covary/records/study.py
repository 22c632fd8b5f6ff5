"""The records of a dataset: from the configuration to the NLME engine and back to labelled arrays."""

import numpy as np
import xarray as xr
from jaxtyping import Float, Float64

from covary import nlme
from covary.config.records import Longitudinal, PopulationFit
from covary.errors import UserError
from covary.records.regimens import planned_design
from covary.records.truth import initial_parameters, true_parameters


class Study:
    """A structural model observed by one design, the same for every subject; times in hours."""

    def __init__(self, settings: Longitudinal):
        nlme.configure()
        self.model = nlme.load_model(settings.model)
        self.settings = settings
        self.times_h = settings.times_h
        self.truth = true_parameters(self.model, settings)
        if any(covariate.sd for covariate in settings.covariates.values()):
            raise UserError("longitudinal.covariates: must be numbers; each subject is observed alike")

    def design(self, n_subjects: int) -> nlme.Design:
        """The design for so many subjects."""
        return planned_design(self.settings, n_subjects, seed=0)

    def predictions(
        self, eta: Float[np.ndarray, "subject random_effect"]
    ) -> Float64[np.ndarray, "subject time"]:
        """f(eta) under the true parameters, without residual error."""
        return nlme.predictions(self.model, self.truth, eta, self.design(len(eta)))

    def simulate(
        self, eta: Float[np.ndarray, "subject random_effect"], *, seed: int, stream: str, start: int = 0
    ) -> Float64[np.ndarray, "subject time"]:
        """Observations of the subjects `start …` with residual error, under the true parameters.

        Raises UserError that names the first subject whose differential equation could not be solved.
        """
        subjects = range(start, start + len(eta))
        simulation = nlme.simulate(
            self.model, self.truth, eta, self.design(len(eta)), seed, stream=stream, subjects=subjects
        )
        if failed := np.flatnonzero(simulation.status).tolist():
            raise UserError(
                f"{len(failed)} of {len(eta)} subjects could not be simulated; the first is subject "
                f"{subjects[failed[0]]}, with random effects {eta[failed[0]].round(3).tolist()}"
            )
        return simulation.observation

    def records(self, observation: Float[np.ndarray, "subject time"]) -> nlme.Records:
        """Observations with the design they were made by."""
        return nlme.Records.of(self.design(len(observation)), observation)

    def initial(self, fit: PopulationFit) -> nlme.Parameters:
        """Where the population fit starts."""
        return initial_parameters(self.model, self.truth, fit)

    def label_records(
        self,
        eta_hat: Float[np.ndarray, "subject random_effect"],
        observation: Float[np.ndarray, "subject time"],
    ) -> xr.Dataset:
        """The group `longitudinal/noise_<v>` of the dataset."""
        effects = {"long_name": "random effects that drive the record", "units": "1"}
        outcome = {"long_name": "simulated outcome with residual error", "units": "dose unit"}
        return xr.Dataset(
            {
                "eta_hat": (("subject", "random_effect"), eta_hat.astype(np.float32), effects),
                "observation": (("subject", "time"), observation.astype(np.float32), outcome),
            },
            coords={"time": ("time", np.asarray(self.times_h), {"long_name": "time", "units": "h"})},
        )

    def label_estimates(self, estimates: nlme.EmpiricalBayes) -> xr.Dataset:
        """The group `estimates/noise_<v>` of the dataset."""
        meanings = " ".join(status.name.lower() for status in nlme.Status)
        return xr.Dataset(
            {
                "eta_approx": (
                    ("subject", "random_effect"),
                    estimates.eta.astype(np.float32),
                    {"long_name": "empirical Bayes estimate of eta_hat", "units": "1"},
                ),
                "precision": (
                    ("subject", "random_effect", "random_effect_2"),
                    estimates.precision.astype(np.float32),
                    {"long_name": "Hessian of the negative log joint density at the estimate", "units": "1"},
                ),
                "objective": (
                    "subject",
                    estimates.objective,
                    {"long_name": "negative log joint density at the estimate", "units": "1"},
                ),
                "status": (
                    "subject",
                    estimates.status,
                    {
                        "long_name": "how the estimation ended",
                        "units": "1",
                        "flag_values": [int(status) for status in nlme.Status],
                        "flag_meanings": meanings,
                    },
                ),
            }
        )

    def modes(self, estimates: xr.Dataset) -> nlme.EmpiricalBayes:
        """The estimates again, from their group or some subjects of it, as far as the dataset keeps them."""
        eta, precision = (estimates[name].values.astype(np.float64) for name in ("eta_approx", "precision"))
        return nlme.EmpiricalBayes(
            eta, precision, estimates["objective"].values, np.zeros(len(eta)), estimates["status"].values
        )
