"""The objectives that a configuration can name."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import nn

from covary.predict.objectives.marginal_likelihood import MarginalLikelihood
from covary.predict.objectives.squared_error import MeanSquaredError


def make_objective(
    name: str, omega: Float[np.ndarray, "k k"], structure: Literal["full", "diagonal"] = "full"
) -> nn.Module:
    """The objective of this name in the configuration."""
    return MarginalLikelihood(omega, structure) if name == "marginal_likelihood" else MeanSquaredError()
