"""Settings of the longitudinal records and of the population fit."""

from typing import Literal

from pydantic import Field, model_validator

from covary.config.base import Positive, Section


class PopulationFit(Section):
    """Maximum-likelihood fit of the population model to the simulated records."""

    method: Literal["fo", "foce", "focei", "laplace"] = Field(
        "foce", description="Approximation of the marginal likelihood"
    )
    subjects: Positive = Field(1000, description="Training subjects used (all, if there are fewer)")
    initial_fixed_effects: list[float] | None = Field(
        [1.0, 1.1, 0.6],
        description="Start of the fixed effects on their natural scale; null: the model's own",
    )
    initial_omega: float = Field(0.2, gt=0, description="Start of every variance on the diagonal of Ω")
    initial_sigma: float = Field(0.1, gt=0, description="Start of the residual standard deviation")


class Longitudinal(Section):
    """The records: structural model, observation times, residual error, fit."""

    model: str = Field(
        "saturable_elimination", description="A shipped structural model, or `my_model.py:MyModel`"
    )
    first_time_h: float = Field(0.0, ge=0, description="First observation")
    last_time_h: float = Field(10.0, gt=0, description="Last observation")
    interval_h: float = Field(0.5, gt=0, description="Spacing of the observations")
    dose: float = Field(1.0, gt=0, description="Bolus at time 0")
    residual_sd: float = Field(
        0.01, gt=0, description="σ_ε, standard deviation of the additive residual error"
    )
    fit: PopulationFit = Field(default_factory=PopulationFit, description="Population fit")

    @model_validator(mode="after")
    def _times_increase(self):
        if self.last_time_h <= self.first_time_h:
            raise ValueError(
                f"last_time_h must be > first_time_h ({self.first_time_h:g}), got {self.last_time_h:g}"
            )
        return self

    @property
    def times_h(self) -> list[float]:
        """Observation times."""
        count = int((self.last_time_h - self.first_time_h) / self.interval_h + 1e-9) + 1
        return [self.first_time_h + i * self.interval_h for i in range(count)]
