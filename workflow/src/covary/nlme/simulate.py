"""Simulate records: predictions from random effects, and observations around them."""

from enum import IntEnum
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int8

from covary import rng
from covary.nlme.blocks import map_lanes
from covary.nlme.check import check_model
from covary.nlme.design import Design
from covary.nlme.lanes import lanes_of, output_index, predict_program
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters
from covary.nlme.solvers.lanes import DEFAULT
from covary.nlme.steady import check_steady_state


class SimulationStatus(IntEnum):
    """What became of a subject."""

    OK = 0
    FAILED = 1  # the solver could not reach the end; everything of this subject is NaN


class Simulation(NamedTuple):
    """Simulated subjects; NaN at times the design does not observe and where `status` is FAILED."""

    prediction: Float64[np.ndarray, "subject time"]
    observation: Float64[np.ndarray, "subject time"]
    status: Int8[np.ndarray, " subject"]

    def __repr__(self) -> str:
        n, times = self.prediction.shape
        return f"Simulation({n} subjects, {times} times, {int(np.sum(self.status))} failed)"


def predictions(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    eta: Float[np.ndarray, "subject k"],
    design: Design,
) -> Float64[np.ndarray, "subject time"]:
    """Predictions without residual error, NaN where the solver fails.

    Raises ValueError if `eta` does not fit the design and the model, or the model does not fit together.
    """
    expected = (design.n_subjects, len(model.random_effects))
    if eta.shape != expected:
        raise ValueError(f"eta must have shape {expected} (subjects, random effects), got {eta.shape}")
    check_model(model, parameters, design)
    check_steady_state(model, parameters, design, np.asarray(eta, dtype=np.float64))
    lanes, etas = lanes_of(model, design), np.ascontiguousarray(np.asarray(eta, dtype=np.float64).T)
    theta = parameters.concrete().theta
    program = partial(predict_program, model, theta, DEFAULT)
    f, _, _ = map_lanes(program, design.n_subjects, lambda index: (etas[:, index], lanes.select(index)))
    return np.where(design.observed, f.T, np.nan)


def simulate(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    eta: Float[np.ndarray, "subject k"],
    design: Design,
    seed: int,
    *,
    stream: str = "residual_error",
    subjects: range | None = None,
) -> Simulation:
    """Simulate observations of subjects with given random effects.

    The residual error of a subject is keyed by (seed, stream, its number), so that simulating `range(0,
    10)` and then `range(10, 20)` gives what `range(0, 20)` gives. `subjects` are the numbers of the rows of
    `eta`, by default 0, 1, …. Raises ValueError if the arguments do not fit together.
    """
    subjects = range(design.n_subjects) if subjects is None else subjects
    if len(subjects) != design.n_subjects or subjects.step != 1:
        raise ValueError(f"subjects must be {design.n_subjects} consecutive numbers, got {subjects}")
    prediction = predictions(model, parameters, eta, design)
    epsilon = rng.normal(seed, stream, subjects.start, subjects.stop, (design.time_h.shape[1],))
    residual = parameters.residual.of(output_index(model, design))
    observation = np.array(residual.observation(prediction, epsilon))
    failed = np.any(np.isnan(prediction) & design.observed, axis=1)
    prediction[failed], observation[failed] = np.nan, np.nan
    return Simulation(prediction, observation, failed.astype(np.int8))
