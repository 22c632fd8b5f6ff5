"""Whether the doses that lead to a steady state are enough."""

import dataclasses
from functools import partial

import numpy as np

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


def check_steady_state(model: OdeModel | ClosedFormModel, parameters: Parameters, design: Design) -> None:
    """Raise UserError unless half of the doses that lead to a steady state predict, at η = 0, what all of
    them do."""
    if design.dose_run_in is None:
        return
    amount = design.dose_amount.copy()
    for row, first in np.argwhere(design.dose_run_in):
        amount[row, first : first + RUN_IN // 2] = _NOTHING
    n, eta = design.n_subjects, np.zeros((len(model.random_effects), design.n_subjects))
    program = partial(predict_program, model, parameters.concrete().theta, DEFAULT)

    def predicted(design):
        lanes = lanes_of(model, design)
        return map_lanes(program, n, lambda index: (eta[:, index], lanes.select(index))).prediction.T

    whole, half = predicted(design), predicted(dataclasses.replace(design, dose_amount=amount))
    apart = np.where(design.observed, np.abs(whole - half) - _HALFWAY * np.abs(whole), -np.inf)
    if np.any(apart > 0):
        subject = design.name(int(np.argmax(apart.max(axis=1))))
        raise UserError(
            f"subject {subject}: {RUN_IN} doses do not lead to the steady state (SS) that its dose asks for; "
            "elimination is too slow for the interval between doses, or saturated"
        )
