"""The likelihood of records as a function of the random effects, and its expansion around a point."""

from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int

from covary.nlme import joint
from covary.nlme.blocks import lane_program, map_lanes
from covary.nlme.check import check_records
from covary.nlme.design import Records
from covary.nlme.lanes import observed_lanes_of
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters
from covary.nlme.solvers.lanes import DEFAULT, Tolerance

_TOLERANCE = Tolerance(1e-5, 1e-6)  # derivatives steer an optimiser: no more digits are needed


class Expansion(NamedTuple):
    """log p(y | η) near a point: its value, its gradient, and the Fisher information of the record there.

    `value` is -inf where the structural model cannot be solved; the rest is 0 there.
    """

    value: Float64[np.ndarray, " subject"]
    gradient: Float64[np.ndarray, "subject k"]
    information: Float64[np.ndarray, "subject k k"]


class RecordLikelihood:
    """log p(y | η) of every subject under given population parameters; Ω plays no part.

    Raises ValueError if model, parameters and records do not fit together.
    """

    def __init__(
        self,
        model: OdeModel | ClosedFormModel,
        parameters: Parameters,
        records: Records,
    ):
        check_records(model, parameters, records)
        self._parameters = parameters.concrete()
        self._prior_precision = np.linalg.inv(self._parameters.omega)
        self._lanes = observed_lanes_of(model, records)
        self._program = partial(_expand, model, self._parameters)
        self._value_program = partial(_joint, model, self._parameters, _TOLERANCE)

    def expand(self, eta: Float[np.ndarray, "row k"], subjects: Int[np.ndarray, " row"]) -> Expansion:
        """Expand around `eta`, one point for each of some subjects."""
        if not len(subjects):
            k = eta.shape[1]
            return Expansion(np.zeros(0), np.zeros((0, k)), np.zeros((0, k, k)))
        points = np.ascontiguousarray(np.asarray(eta, dtype=np.float64).T)
        phi = map_lanes(
            self._program,
            len(subjects),
            lambda index: (points[:, index], self._lanes.select(subjects[index])),
        )
        # Φ holds the prior as well; without it the likelihood is left.
        prior = self._prior_precision
        value = self._without_prior(phi.value, points)
        gradient = -(phi.gradient - prior @ points).T
        information = np.moveaxis(phi.curvature, -1, 0) - prior
        solved = np.isfinite(value) & np.isfinite(gradient).all(1) & np.isfinite(information).all((1, 2))
        return Expansion(
            np.where(solved, value, -np.inf),
            np.where(solved[:, None], gradient, 0.0),
            np.where(solved[:, None, None], information, 0.0),
        )

    def log_density(
        self, eta: Float[np.ndarray, "row point k"], subjects: Int[np.ndarray, " row"]
    ) -> Float64[np.ndarray, "row point"]:
        """log p(y | η) at several points for each of some subjects, on the scale of `expand`; -inf where the
        structural model cannot be solved."""
        n, m, k = eta.shape
        if not n:
            return np.zeros((n, m))
        points = np.ascontiguousarray(np.asarray(eta, dtype=np.float64).reshape(n * m, k).T)
        phi = map_lanes(
            self._value_program,
            n * m,
            lambda index: (points[:, index], self._lanes.select(subjects[index // m])),
        )
        value = self._without_prior(phi, points).reshape(n, m)
        return np.where(np.isfinite(value), value, -np.inf)

    def _without_prior(self, phi, points):
        return -(phi - 0.5 * np.einsum("kn,kj,jn->n", points, self._prior_precision, points))


class LogJoint:
    """log p(y, η) of each subject at many points, up to a constant; -inf where the model cannot be solved.

    `tolerance` is that of the solver of differential equations.
    """

    def __init__(
        self,
        model: OdeModel | ClosedFormModel,
        parameters: Parameters,
        records: Records,
        tolerance: Tolerance = DEFAULT,
    ):
        self._program = partial(_joint, model, parameters, tolerance)
        self._lanes = observed_lanes_of(model, records)

    def __call__(
        self, eta: Float[np.ndarray, "row point k"], subjects: Int[np.ndarray, " row"] | None = None
    ) -> Float64[np.ndarray, "row point"]:
        """Values at several points for each of some subjects (default: all)."""
        n, m, k = eta.shape
        subjects = np.arange(n) if subjects is None else subjects
        points = np.ascontiguousarray(eta.reshape(n * m, k).T)
        phi = map_lanes(
            self._program,
            n * m,
            lambda index: (points[:, index], self._lanes.select(subjects[index // m])),
        ).reshape(n, m)
        return np.where(np.isfinite(phi), -phi, -np.inf)


@lane_program(n_shared=2)
def _expand(model, parameters, eta, lanes):
    return joint.gauss_newton(model, parameters, eta, lanes, None, _TOLERANCE)


@lane_program(n_shared=3, static_argnums=(2,))
def _joint(model, parameters, tolerance, eta, lanes):
    return joint.joint(model, parameters, eta, lanes, None, tolerance)
