"""Settings of what is inferred about the random effects of each subject from its record."""

from typing import Annotated, Literal

from pydantic import Field

from covary.config.base import Positive, Section


class PosteriorNetwork(Section):
    """A network that is trained on simulations of the study and gives posteriors of any record."""

    encoding: Literal["augment", "insert", "time_labels"] = Field(
        "augment",
        description="How a missing visit enters: 0 beside an indicator, a constant, or left out and each of "
        "the others with its time",
    )
    summary: Literal["dense", "residual"] = Field(
        "dense",
        description="What reads the record: dense layers, or residual blocks with gates, which take some "
        "three times as long and learn what dense layers hardly do, such as the frequency of an oscillation",
    )
    prior_width: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        1.2,
        description="Standard deviations of random effects in the training, in those of the population",
    )
    layers: Positive = Field(6, description="Coupling layers of the flow")
    width: Positive = Field(64, description="Width of its networks")
    batch_size: Positive = Field(512, description="Simulations per step")
    steps: Positive = Field(100, description="Steps per round")
    rounds: Positive = Field(100, description="At most so many rounds; each has simulations of its own")
    patience_rounds: Positive = Field(20, description="Rounds without a new best before the training ends")
    learning_rate: Annotated[float, Field(gt=0)] = Field(2e-3, description="Highest learning rate of Adam")
    control_rounds: Positive = Field(
        20, description="Rounds of the control, a network that does not know which visits are missing"
    )

    def without_effect(self) -> dict[str, str]:
        """Visits with their times are read as a set."""
        return {"summary": "with encoding time_labels"} if self.encoding == "time_labels" else {}


class Posterior(Section):
    """The posterior of a subject's random effects given its record."""

    draws: Positive = Field(
        64, description="Draws from each subject's posterior, for predictors by marginal_likelihood"
    )
    source: Literal["laplace", "amortised"] = Field(
        "laplace",
        description="What proposes draws, which weights make exact: a distribution around the mode, or a "
        "posterior network, and that around the mode where the network's cannot be relied on",
    )
    network: PosteriorNetwork = Field(default_factory=PosteriorNetwork, description="The posterior network")
    checked_records: Annotated[int, Field(ge=200)] = Field(
        2000, description="Simulated records per noise level on which posteriors of the network are checked"
    )

    def without_effect(self) -> dict[str, str]:
        """Only amortised posteriors have a network, and checks of it."""
        keys = ("network", "checked_records") if self.source == "laplace" else ()
        return dict.fromkeys(keys, "with source laplace")
