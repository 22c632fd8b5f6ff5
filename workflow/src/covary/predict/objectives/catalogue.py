"""The objectives that a configuration can name: one row of the catalogue each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import nn

from covary.predict.objectives.marginal_likelihood import MarginalLikelihood
from covary.predict.objectives.squared_error import MeanSquaredError


@dataclass(frozen=True)
class Objective:
    """What a predictor is trained for.

    `loss` makes the module from Ω and the structure of V. `evidence` names what it needs to know of each
    subject: `estimates`, or `posteriors`, which come from a file of draws. `centred` says whether the
    predictions are moved to the mean 0 in the end: a population fit that is off moves all by a constant.
    """

    loss: Callable[[Float[np.ndarray, "k k"], Literal["full", "diagonal"]], nn.Module]
    evidence: Literal["estimates", "posteriors"]
    centred: bool


OBJECTIVES = {
    "ebe_mse": Objective(lambda omega, structure: MeanSquaredError(), "estimates", centred=False),
    "marginal_likelihood": Objective(MarginalLikelihood, "posteriors", centred=True),
}
