"""Predictions of many subjects at once, in lanes: the last axis of every array is the subject."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from covary.errors import UserError
from covary.nlme.arrays import STATIC, Array, pytree
from covary.nlme.blocks import lane_program, take
from covary.nlme.design import Bounds, Design, Records
from covary.nlme.dosing import Dosing, Plan, given_doses
from covary.nlme.model import ClosedFormModel, Doses, OdeModel, StructuralModel
from covary.nlme.schedule import Schedule
from covary.nlme.solvers import adjoint
from covary.nlme.solvers.lanes import DEFAULT, Failure, Solution, Tolerance, solve

Accuracy = Tolerance | adjoint.Grid  # of the solver, and which of the two it is


class Regimen(NamedTuple):
    """What a closed form needs of a design: (time,) and (dose,) arrays, with a last lane axis if ragged."""

    time_h: Float[Array, "time *lane"]
    doses: Doses
    rate: Float[Array, "dose *lane"]  # as given, −1 and −2 for modelled ones


@pytree
class Lanes:
    """The design of some subjects side by side."""

    n_times: int = dataclasses.field(metadata=STATIC)
    shared: bool = dataclasses.field(metadata=STATIC)
    plan: Schedule | Plan | Regimen
    covariates: dict[str, Float[Array, ""] | Float[Array, " lane"]]
    output: Int[Array, "time *lane"] | None  # which of several outputs is observed
    varying: dict[str, Float[Array, "epoch *lane"]]

    def select(self, index: Int[Array, " lane"]) -> "Lanes":
        """Some of the lanes, by index; repeats are allowed."""
        covariates = {n: take(v, index) if v.ndim else v for n, v in self.covariates.items()}
        if self.shared:
            return dataclasses.replace(self, covariates=covariates)
        plan, output, varying = take((self.plan, self.output, self.varying), index)
        return dataclasses.replace(self, plan=plan, covariates=covariates, output=output, varying=varying)

    def observed(
        self,
        y: Float[Array, "time lane"],
        present: Bool[Array, "time lane"],
        bounds: Bounds | None,
    ) -> "ObservedLanes":
        """The same subjects with observations."""
        plan, own = self.plan, (self.covariates, self.output, self.varying)
        return ObservedLanes(self.n_times, self.shared, plan, *own, y, present, bounds)


@pytree
class ObservedLanes(Lanes):
    """The design and the observations of some subjects side by side."""

    y: Float[Array, "time lane"]
    present: Bool[Array, "time lane"]
    bounds: Bounds | None  # (time, lane)

    @property
    def alike(self) -> bool:
        """Whether subjects differ in the observed values and random effects only."""
        return (
            self.shared
            and self.bounds is None
            and not any(np.ndim(value) for value in self.covariates.values())
        )

    @property
    def design(self) -> Lanes:
        """The same subjects without their observations."""
        return Lanes(self.n_times, self.shared, self.plan, self.covariates, self.output, self.varying)

    def select(self, index: Int[Array, " lane"]) -> "ObservedLanes":
        """Some of the lanes, by index; repeats are allowed."""
        y, present, bounds = take((self.y, self.present, self.bounds), index)
        return self.design.select(index).observed(y, present, bounds)


def observed_lanes_of(model: OdeModel | ClosedFormModel, records: Records) -> ObservedLanes:
    """The subjects of records, as lanes."""
    y = np.where(records.present, records.observation, 1.0).astype(np.float64)  # any finite number will do
    return lanes_of(model, records.design).observed(
        np.ascontiguousarray(y.T),
        np.ascontiguousarray(records.present.T),
        jax.tree.map(lambda values: np.ascontiguousarray(values.T), records.bounds),
    )


def lanes_of(model: OdeModel | ClosedFormModel, design: Design) -> Lanes:
    """The subjects of a design, as lanes."""
    used = covariates_used(model, design)
    covariates = {n: v[0] if len(v) == 1 else v for n, v in design.covariates.items() if n in used}
    varying = {} if design.varying is None else {n: v for n, v in design.varying.value.items() if n in used}
    varying = {n: v[0] if design.shared else np.ascontiguousarray(v.T) for n, v in varying.items()}
    ode = isinstance(model, OdeModel)
    plan: Schedule | Plan | Regimen
    if not ode:
        plan = regimen_of(design)
    elif has_dosing(model) or design.dose_run_in is not None:
        plan = Plan.of(design, varying=bool(varying))
    else:
        plan = Schedule.of(design, varying=bool(varying))
    n_times = design.time_h.shape[1]
    output = output_index(model, design)
    if output is not None:
        output = output[0] if design.shared else np.ascontiguousarray(output.T)
    return Lanes(n_times, design.shared, plan, covariates, output, varying)


def predict(
    model: OdeModel | ClosedFormModel,
    theta: dict,
    eta: Float[Array, "k lane"],
    lanes: Lanes,
    accuracy: Accuracy = DEFAULT,
) -> Solution:
    """Predictions of each lane, why they could not be computed (NaN then), and the solver's steps (0 without
    a solver).

    Each fixed effect is a number, or (lane,) for fixed effects that differ between lanes. With a tolerance,
    equations are solved with steps of each lane's own, differentiable in forward mode; with a grid, on it,
    differentiable in reverse mode as well.
    """
    design_axis = None if lanes.shared else -1

    def individual(varying):
        """The individual parameters, given the covariates of one epoch."""
        covariates = lanes.covariates | varying
        axes = jax.tree.map(lambda v: 0 if jnp.ndim(v) else None, (theta, covariates))
        return jax.vmap(model.individual, in_axes=(axes[0], -1, axes[1]))(theta, eta, covariates)

    p = jax.vmap(individual)(lanes.varying) if lanes.varying else individual({})
    plan, n = lanes.plan, eta.shape[1]
    if isinstance(model, OdeModel):
        if isinstance(plan, Plan):
            dosing = jax.vmap(model.dosing)
            plan = plan.schedule((jax.vmap(dosing) if lanes.varying else dosing)(p), n)
        assert isinstance(plan, Schedule)
        if isinstance(accuracy, adjoint.Grid):
            return adjoint.solve(model, p, plan, lanes.n_times, lanes.output, accuracy)
        return solve(model, p, plan, lanes.n_times, lanes.output, accuracy)
    assert isinstance(plan, Regimen)
    doses, dose_axis = plan.doses, design_axis
    if has_dosing(model):
        doses, dose_axis = _as_given(plan, jax.vmap(model.dosing)(p), n), -1
    closed_form = jax.vmap(model.closed_form, in_axes=(design_axis, dose_axis, 0), out_axes=-1)
    f = closed_form(plan.time_h, doses, p)
    f = model.choose(f, lanes.output)
    finite = jnp.all(jnp.isfinite(jax.lax.stop_gradient(f)), axis=0)
    failure = jnp.where(finite, int(Failure.NONE), int(Failure.NOT_FINITE))
    return Solution(f, failure, jnp.zeros(failure.shape, dtype=jnp.int64))


def has_dosing(model: OdeModel | ClosedFormModel) -> bool:
    """Whether the model says how doses enter."""
    return type(model).dosing is not StructuralModel.dosing


def _as_given(plan: Regimen, dosing: dict[int, Dosing], lanes: int) -> Doses:
    """The doses as they enter, one column per lane."""
    doses = plan.doses
    dose = given_doses(dosing, lanes, doses.amount, doses.duration_h, plan.rate, doses.compartment)

    def wide(v):
        return jnp.broadcast_to(v if v.ndim > 2 else v[..., None], (*v.shape[:2], lanes))

    elapsed = wide(doses.elapsed_h) - dose.lag_h
    compartment = jnp.broadcast_to(doses.compartment.reshape(len(dose.amount), -1), dose.amount.shape)
    return Doses(dose.amount, dose.duration_h, compartment, elapsed, wide(doses.given) & (elapsed >= 0))


@lane_program(n_shared=3)
def predict_program(model, theta, tolerance, eta, lanes):
    """`predict` as one compiled program for every accuracy."""
    return predict(model, theta, eta, lanes, tolerance)


class _Watched(Mapping):
    """Covariates that remember which of them were asked for."""

    def __init__(self, values: dict):
        self.values_by_name = values
        self.asked: set[str] = set()

    def __getitem__(self, name: str):
        self.asked.add(name)
        return self.values_by_name[name]

    def __iter__(self):
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)


def covariates_used(model: OdeModel | ClosedFormModel, design: Design) -> frozenset[str]:
    """Which covariates of a design the model asks for.

    Raises UserError if one changes within a subject and the model is a closed form.
    """
    changing = {} if design.varying is None else design.varying.value
    names = [*design.covariates, *changing]
    scalar = jax.ShapeDtypeStruct((), np.float64)
    asked: set[str] = set()

    def trace(theta, eta, values):
        watched = _Watched(values)
        model.individual(theta, eta, watched)
        asked.update(watched.asked)

    eta = jax.ShapeDtypeStruct((len(model.random_effects),), np.float64)
    jax.eval_shape(trace, dict.fromkeys(model.fixed_effects, scalar), eta, dict.fromkeys(names, scalar))
    if isinstance(model, ClosedFormModel) and (changes := sorted(asked & set(changing))):
        raise UserError(
            f"{type(model).__name__} is a closed form, which cannot take the covariate {changes[0]}: it "
            "changes within a subject; write the model as an OdeModel"
        )
    return frozenset(asked)


def output_index(model: OdeModel | ClosedFormModel, design: Design) -> Int[np.ndarray, "row time"] | None:
    """Which of the model's outputs each observation is of; None for a model with one output.

    Raises UserError if observations are of an output that the model does not have, or of several where it
    has one.
    """
    name = type(model).__name__
    observed = np.where(design.observed, 0 if design.output is None else design.output, 0)
    asked = sorted(set(observed[design.observed].tolist()))
    if not model.outputs:
        if len(asked) > 1:
            row = int(np.argmax((observed != asked[0]).any(axis=1)))
            raise UserError(
                f"subject {design.name(row)}: observations are of CMT or DVID {', '.join(map(str, asked))}, "
                f"but {name} has one output; choose rows with `accept`, or declare `outputs` in the model"
            )
        return None
    numbers = list(model.outputs)
    if unknown := [number for number in asked if number not in numbers]:
        row = int(np.argmax(((observed == unknown[0]) & design.observed).any(axis=1)))
        known = ", ".join(f"{number} ({output})" for number, output in model.outputs.items())
        raise UserError(
            f"subject {design.name(row)}: observations must be of CMT or DVID {known} of {name}, "
            f"got {unknown[0] or 'neither'}"
        )
    return np.argmax(observed[:, :, None] == np.array(numbers), axis=2)


def regimen_of(design: Design) -> Regimen:
    """What a closed form needs of a design."""
    elapsed = design.time_h[:, :, None] - design.dose_time_h[:, None, :]
    order = np.arange(design.dose_amount.shape[1])
    given = order < design.doses_before[:, :, None]
    start = np.broadcast_to(design.start_h[:, None], design.time_h.shape)
    if design.dose_resets is not None:
        last = np.max(np.where(given & design.dose_resets[:, None, :], order, -1), axis=2)
        given &= order >= last[:, :, None]
        restart = np.take_along_axis(design.dose_time_h, np.maximum(last, 0), axis=1)
        start = np.where(last >= 0, restart, start)
    doses = (design.dose_amount, design.dose_duration_h, design.dose_compartment, elapsed, given)
    rate = np.zeros_like(design.dose_amount) if design.dose_rate is None else design.dose_rate
    since_start = design.time_h - start
    time, doses, rate = jax.tree.map(
        lambda v: v[0] if design.shared else np.moveaxis(v, 0, -1), (since_start, doses, rate)
    )
    return Regimen(time, Doses(*doses), rate)
