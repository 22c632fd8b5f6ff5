"""Whether the doses that lead to a steady state are enough."""

import dataclasses
from functools import partial

import numpy as np
from jaxtyping import Float64

from covary.errors import UserError
from covary.nlme.blocks import map_lanes
from covary.nlme.design import RUN_IN, Design
from covary.nlme.lanes import lanes_of, predict_program
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters
from covary.nlme.solvers.lanes import DEFAULT

# The distance from the steady state shrinks by about the same factor with every dose. If half of the doses
# come this close, all of them come as close as the square of it.
_HALFWAY = 1e-3
_NOTHING = 1e-300  # an amount that keeps the dose in the schedule


def check_steady_state(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    design: Design,
    eta: Float64[np.ndarray, "subject k"] | None = None,
) -> None:
    """Raise UserError unless the doses that lead to a steady state are enough at these random effects, by
    default 0."""
    if (subject := not_steady(model, parameters, design, eta)) is not None:
        raise UserError(unsteady_in_words(design, subject))


def not_steady(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    design: Design,
    eta: Float64[np.ndarray, "subject k"] | None = None,
) -> int | None:
    """The subject that is farthest from its steady state, if half of the doses that lead there predict
    something else than all of them do."""
    if design.dose_run_in is None:
        return None
    amount = design.dose_amount.copy()
    for row, first in np.argwhere(design.dose_run_in):
        amount[row, first : first + RUN_IN // 2] = _NOTHING
    n = design.n_subjects
    lane_eta = np.zeros((len(model.random_effects), n)) if eta is None else np.ascontiguousarray(eta.T)
    program = partial(predict_program, model, parameters.concrete().theta, DEFAULT)

    def predicted(design):
        lanes = lanes_of(model, design)
        return map_lanes(program, n, lambda index: (lane_eta[:, index], lanes.select(index))).prediction.T

    whole, half = predicted(design), predicted(dataclasses.replace(design, dose_amount=amount))
    apart = np.where(design.observed, np.abs(whole - half) - _HALFWAY * np.abs(whole), -np.inf)
    return int(np.argmax(apart.max(axis=1))) if np.any(apart > 0) else None


def unsteady_in_words(design: Design, subject: int) -> str:
    """That a subject is not at its steady state, and why."""
    return (
        f"subject {design.name(subject)}: {RUN_IN} doses do not lead to the steady state (SS) that its dose "
        "asks for; elimination is too slow for the interval between doses, or saturated"
    )
