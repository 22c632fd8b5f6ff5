"""Settings of what is inferred about the random effects of each subject from its record."""

from pydantic import Field

from covary.config.base import Positive, Section


class Posterior(Section):
    """The posterior of a subject's random effects given its record."""

    draws: Positive = Field(
        64, description="Draws from each subject's posterior, for predictors by marginal_likelihood"
    )
