"""Scenarios: sets of records over the same subjects."""

from dataclasses import dataclass

from covary.dataset import names


@dataclass(frozen=True)
class Scenario:
    """One set of records over the same subjects: simulated with the noise variance σ², or observed.

    An observed scenario has no noise variance, since nobody knows the random effects behind it.
    """

    noise_variance: float | None

    @property
    def name(self) -> str:
        """How the scenario is called in groups, files and random streams."""
        return "observed" if self.noise_variance is None else names.noise_scenario(self.noise_variance)
