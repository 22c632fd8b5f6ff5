"""Settings of the longitudinal records and of the population fit."""

import math
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, ValidationError, WrapValidator, model_validator
from pydantic_core import PydanticCustomError

from covary.config.base import Finite, Positive, Section
from covary.config.visits import Missing

StandardDeviation = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Time = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_GRID = ("first_time_h", "last_time_h", "interval_h")


class PopulationFit(Section):
    """Maximum-likelihood fit of the population model to the simulated records."""

    method: Literal["fo", "foce", "focei", "laplace", "elbo", "vae", "amortised"] = Field(
        "foce",
        description="Approximation of the marginal likelihood, or a lower bound of it with a normal "
        "distribution per subject, free (elbo) or from an encoder (vae), or weighted draws of a posterior "
        "network (amortised)",
    )
    subjects: Positive = Field(1000, description="Training subjects used (all, if there are fewer)")
    initial_fixed_effects: list[Finite] | None = Field(
        None,
        description="Start of the fixed effects on their natural scale; null: the model's own start, for "
        "saturable_elimination 1.0, 1.1, 0.6, for others their default parameters",
    )
    initial_omega: float = Field(0.2, gt=0, description="Start of every variance on the diagonal of Ω")
    initial_sigma: float = Field(0.1, gt=0, description="Start of every residual standard deviation")

    prior_width: StandardDeviation = Field(
        4.0,
        description="Standard deviations of random effects in the training of the network (amortised), in "
        "those at the start; wide enough for means that differ from 0, which fixed effects take up",
    )

    def without_effect(self) -> dict[str, str]:
        """Only one method trains a network."""
        return {} if self.method == "amortised" else {"prior_width": f"with method {self.method}"}

    @property
    def residuals_by(self) -> str:
        """The approximation behind conditional weighted residuals; bounds and draws have none."""
        return "focei" if self.method in ("elbo", "vae", "amortised") else self.method


class Dose(Section):
    """A dose that every subject gets, and its repetitions, as in a row of a NONMEM table."""

    time_h: Time = Field(description="Time of the dose")
    amount: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(description="Amount")
    duration_h: Time = Field(0.0, description="Length of an infusion at a constant rate; 0 is a bolus")
    compartment: Positive = Field(1, description="Compartment of the model that is dosed, counted from 1")
    additional: Annotated[int, Field(ge=0)] = Field(0, description="Times that the dose is repeated (ADDL)")
    interval_h: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Time between repetitions (II)"
    )

    def without_effect(self) -> dict[str, str]:
        """A single dose has no interval."""
        return {} if self.additional else {"interval_h": "without `additional`"}

    @model_validator(mode="after")
    def _repetitions_have_an_interval(self):
        if self.additional and self.interval_h is None:
            raise ValueError(f"interval_h must be given where `additional` is {self.additional}, got null")
        return self


class AdditiveError(Section):
    """y = f + ε."""

    error: Literal["additive"] = Field(description="Kind of the residual error")
    sd: StandardDeviation = Field(description="Standard deviation of ε")


class ProportionalError(Section):
    """y = f (1 + ε)."""

    error: Literal["proportional"] = Field(description="Kind of the residual error")
    sd: StandardDeviation = Field(description="Standard deviation of ε")


class CombinedError(Section):
    """Additive and proportional error."""

    error: Literal["combined"] = Field(description="Kind of the residual error")
    additive_sd: StandardDeviation = Field(description="Standard deviation of the additive part")
    proportional_sd: StandardDeviation = Field(description="Standard deviation of the proportional part")
    adds: Literal["variances", "standard_deviations"] = Field(
        "variances", description="What of the two parts is added"
    )


class LogNormalError(Section):
    """ln y = ln f + ε."""

    error: Literal["log_normal"] = Field(description="Kind of the residual error")
    sd: StandardDeviation = Field(description="Standard deviation of ε")


Residual = Annotated[
    AdditiveError | ProportionalError | CombinedError | LogNormalError, Field(discriminator="error")
]


class Covariate(Section):
    """A covariate of the model, constant over time; a number in its place is the same for every subject."""

    mean: Finite = Field(description="Mean over subjects")
    sd: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.0, description="Standard deviation over subjects; 0: all are equal"
    )
    distribution: Literal["normal", "log_normal"] = Field(
        "normal", description="Distribution with this mean and standard deviation, before it is cut"
    )
    minimum: Finite | None = Field(None, description="The distribution is cut off below this")
    maximum: Finite | None = Field(None, description="The distribution is cut off above this")

    def without_effect(self) -> dict[str, str]:
        """What describes a distribution says nothing of a constant."""
        constant = dict.fromkeys(("distribution", "minimum", "maximum"), "with sd 0")
        return {} if self.sd else constant

    @model_validator(mode="before")
    @classmethod
    def _number_is_constant(cls, value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return {"mean": value} if is_number else value

    @model_validator(mode="after")
    def _values_exist(self):
        low, high = (-math.inf if self.minimum is None else self.minimum,
                     math.inf if self.maximum is None else self.maximum)  # fmt: skip
        if self.sd and low >= high:
            raise ValueError(f"maximum must be > minimum ({low:g}), got {high:g}")
        if self.distribution == "log_normal" and self.mean <= 0:
            raise ValueError(f"mean must be > 0 where the distribution is log_normal, got {self.mean:g}")
        if self.distribution == "log_normal" and high <= 0:
            raise ValueError(f"maximum must be > 0 where the distribution is log_normal, got {high:g}")
        return self


def _variances(value: Any, handler: Any) -> Any:
    """Ω as a number, its diagonal or the matrix: one fault in place of one for each kind."""
    try:
        checked = handler(value)
        omega = np.asarray(checked, dtype=np.float64)
        matrix = np.diag(np.atleast_1d(omega)) if omega.ndim < 2 else omega
        is_covariance = (
            np.isfinite(matrix).all()
            and matrix.shape == matrix.T.shape
            and (matrix == matrix.T).all()
            and (np.linalg.eigvalsh(matrix) > 0).all()
        )
    except (ValidationError, ValueError):
        is_covariance = False
    if not is_covariance:
        raise PydanticCustomError(
            "omega",
            "must be a variance > 0 for all random effects, a list with one for each, or a symmetric, "
            "positive definite matrix, got {got}",
            {"got": str(value)},
        )
    return checked


Omega = Annotated[float | list[float] | list[list[float]], WrapValidator(_variances)]


class Longitudinal(Section):
    """The records: structural model, visits, doses, covariates, residual error, fit."""

    replaced: ClassVar = {
        "dose": "regimen: [{time_h: 0, amount: …}]",
        "residual_sd": "residual: {error: additive, sd: …}",
    }

    model: Annotated[str, Field(min_length=1)] = Field(
        "saturable_elimination", description="A shipped structural model, or `my_model.py:MyModel`"
    )
    design: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="NONMEM table in place of visits, regimen and covariates: each subject has those of one "
        "of the table's subjects, drawn with replacement. TIME is in hours",
    )
    first_time_h: Time = Field(0.0, description="First visit of evenly spaced ones")
    last_time_h: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        10.0, description="No visit is later"
    )
    interval_h: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        0.5, description="Spacing of the visits"
    )
    times_h: list[Time] = Field(
        default_factory=lambda settings: _evenly_spaced(*(settings[key] for key in _GRID)),
        min_length=1,
        description="The visits, in place of first_time_h, last_time_h and interval_h",
    )
    regimen: list[Dose] = Field(
        default_factory=lambda: [Dose(time_h=0.0, amount=1.0)],
        description="The doses of every subject; left out, a bolus of 1 at time 0; [] is none",
    )
    covariates: dict[Annotated[str, Field(min_length=1)], Covariate] = Field(
        default_factory=dict,
        description="Covariates of the model by name, each a number or a distribution over subjects",
    )
    missing: list[Missing] = Field(
        default_factory=list,
        description="Why visits of the schedule do not take place, one entry per mechanism; [] is none",
    )
    omega: Omega | None = Field(
        None,
        description="True covariance Ω of the random effects: a variance for all, a list of variances, or a "
        "matrix; null: the model's own",
    )
    residual: Residual | None = Field(None, description="True residual error; null: the model's own")
    fit: PopulationFit = Field(default_factory=PopulationFit, description="Population fit")

    def without_effect(self) -> dict[str, str]:
        """Visits are a list, or evenly spaced, or those of a table."""
        if self.design is not None:
            return dict.fromkeys((*_GRID, "times_h", "regimen", "covariates"), "with design")
        if "times_h" in self.model_fields_set:
            return dict.fromkeys(_GRID, "with times_h")
        return {"times_h": "where visits are evenly spaced"}

    @model_validator(mode="after")
    def _times_increase(self):
        if "times_h" not in self.model_fields_set and self.last_time_h <= self.first_time_h:
            raise ValueError(
                f"last_time_h must be > first_time_h ({self.first_time_h:g}), got {self.last_time_h:g}"
            )
        if any(late <= early for early, late in pairwise(self.times_h)):
            raise ValueError(f"times_h must increase, got {self.times_h}")
        return self


def _evenly_spaced(first_h: float, last_h: float, interval_h: float) -> list[float]:
    count = int((last_h - first_h) / interval_h + 1e-9) + 1
    return [first_h + i * interval_h for i in range(count)]
