"""Predictions of many subjects at once, in lanes: the last axis of every array is the subject."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from covary.errors import UserError
from covary.nlme.arrays import Array
from covary.nlme.blocks import lane_program, take
from covary.nlme.configuration import check_configured
from covary.nlme.design import Bounds, Design, Records
from covary.nlme.model import ClosedFormModel, Doses, OdeModel
from covary.nlme.parameters import Parameters
from covary.nlme.schedule import Schedule
from covary.nlme.solvers.lanes import DEFAULT, Failure, Solution, Tolerance, solve


class Regimen(NamedTuple):
    """What a closed form needs of a design: (time,) and (dose,) arrays, with a last lane axis if ragged."""

    time_h: Float[Array, "time *lane"]
    doses: Doses


class Lanes(eqx.Module):
    """Some subjects side by side: their design and, unless they are to be simulated, their observations."""

    n_times: int = eqx.field(static=True)
    shared: bool = eqx.field(static=True)
    plan: Schedule | Regimen
    covariates: dict[str, Float[Array, ""] | Float[Array, " lane"]]
    y: Float[Array, "time lane"] | None = None
    present: Bool[Array, "time lane"] | None = None
    bounds: Bounds | None = None  # (time, lane)

    @property
    def alike(self) -> bool:
        """Whether subjects differ in the observed values and random effects only."""
        return (
            self.shared
            and self.bounds is None
            and not any(np.ndim(value) for value in self.covariates.values())
        )

    def select(self, index: Int[Array, " lane"]) -> "Lanes":
        """Some of the lanes, by index; repeats are allowed."""
        plan = self.plan if self.shared else take(self.plan, index)
        covariates = {n: take(v, index) if v.ndim else v for n, v in self.covariates.items()}
        own = take((self.y, self.present, self.bounds), index)
        return Lanes(self.n_times, self.shared, plan, covariates, *own)


def lanes_of(model: OdeModel | ClosedFormModel, source: Design | Records) -> Lanes:
    """The subjects of a design or of records, as lanes."""
    design = source.design if isinstance(source, Records) else source
    plan = Schedule.of(design) if isinstance(model, OdeModel) else _regimen(design)
    covariates = {n: v[0] if len(v) == 1 else v for n, v in design.covariates.items()}
    n_times = design.time_h.shape[1]
    if not isinstance(source, Records):
        return Lanes(n_times, design.shared, plan, covariates)
    y = np.where(source.present, source.observation, 1.0).astype(np.float64)  # any finite number will do
    return Lanes(
        n_times,
        design.shared,
        plan,
        covariates,
        np.ascontiguousarray(y.T),
        np.ascontiguousarray(source.present.T),
        jax.tree.map(lambda values: np.ascontiguousarray(values.T), source.bounds),
    )


def predict(
    model: OdeModel | ClosedFormModel,
    theta: dict,
    eta: Float[Array, "k lane"],
    lanes: Lanes,
    tolerance: Tolerance = DEFAULT,
) -> Solution:
    """Predictions of each lane, why they could not be computed (NaN then), and the solver's steps (0 without
    a solver).

    Each fixed effect is a number, or (lane,) for fixed effects that differ between lanes.
    """
    design_axis = None if lanes.shared else -1
    axes = jax.tree.map(lambda v: 0 if jnp.ndim(v) else None, (theta, lanes.covariates))
    p = jax.vmap(model.individual, in_axes=(axes[0], -1, axes[1]))(theta, eta, lanes.covariates)
    if isinstance(model, OdeModel):
        return solve(model, p, lanes.plan, lanes.n_times, tolerance)
    f = jax.vmap(model.closed_form, in_axes=(design_axis, design_axis, 0), out_axes=-1)(*lanes.plan, p)
    finite = jnp.all(jnp.isfinite(jax.lax.stop_gradient(f)), axis=0)
    failure = jnp.where(finite, int(Failure.NONE), int(Failure.NOT_FINITE))
    return Solution(f, failure, jnp.zeros(failure.shape, dtype=jnp.int64))


@lane_program(n_shared=3)
def predict_program(model, theta, tolerance, eta, lanes):
    """`predict` as one compiled program for every accuracy."""
    return predict(model, theta, eta, lanes, tolerance)


def check_model(model: OdeModel | ClosedFormModel, parameters: Parameters, design: Design) -> None:
    """Raise UserError if the model's methods do not fit together, naming the model, the method and the
    shape; RuntimeError if nobody called `nlme.configure()`."""
    check_configured()
    name = type(model).__name__
    scalar = jax.ShapeDtypeStruct((), jnp.float64)
    theta = {n: scalar for n in parameters.theta}
    eta = jax.ShapeDtypeStruct((len(model.random_effects),), jnp.float64)
    if set(parameters.theta) != set(model.fixed_effects) or parameters.random_effects != model.random_effects:
        raise UserError(
            f"the parameters are not those of {name}: fixed effects {', '.join(parameters.theta)}"
        )
    try:
        p = jax.eval_shape(model.individual, theta, eta, {n: scalar for n in design.covariates})
    except KeyError as missing:
        why = design.unusable.get(missing.args[0], ", ".join(design.covariates) or "there are none")
        raise UserError(
            f"{name}.individual needs {missing}, which is neither a fixed effect nor a covariate ({why})"
        ) from None
    for key, value in p.items():
        if value.shape != ():
            raise UserError(f"{name}.individual must return a number for {key}, got shape {value.shape}")
    if isinstance(model, ClosedFormModel):
        regimen = jax.tree.map(
            lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype), _regimen(design.rows(np.array([0])))
        )
        f = jax.eval_shape(model.closed_form, *regimen, p)
        if f.shape != (design.time_h.shape[1],):
            raise UserError(
                f"{name}.closed_form must return shape ({design.time_h.shape[1]},), got {f.shape}"
            )
        return
    y = jax.eval_shape(model.initial_state, p)
    state = tuple(scalar for _ in range(len(y)))
    for method, value in (
        ("initial_state", y),
        ("vector_field", jax.eval_shape(model.vector_field, scalar, state, p)),
    ):
        shapes = (
            [np.shape(part) for part in value]
            if isinstance(value, tuple | list)
            else [value.shape[1:]] * len(value)
        )
        if len(shapes) != len(state) or any(shapes):
            raise UserError(
                f"{name}.{method} must return {len(state)} numbers, one a state, got shapes {shapes}"
            )
    f = jax.eval_shape(model.prediction, scalar, state, p)
    if f.shape != ():
        raise UserError(f"{name}.prediction must return a number, got shape {f.shape}")
    if np.any(design.dose_compartment >= len(state)) or np.any(design.dose_compartment < 0):
        raise UserError(
            f"doses must go to compartments 1 … {len(state)} of {name}, "
            f"got {int(design.dose_compartment.max()) + 1}"
        )


def _regimen(design: Design) -> Regimen:
    elapsed = design.time_h[:, :, None] - design.dose_time_h[:, None, :]
    order = np.arange(design.dose_amount.shape[1])
    given = order < design.doses_before[:, :, None]
    doses = (design.dose_amount, design.dose_duration_h, design.dose_compartment, elapsed, given)
    since_start = design.time_h - design.start_h[:, None]
    time, doses = jax.tree.map(
        lambda v: v[0] if design.shared else np.moveaxis(v, 0, -1), (since_start, doses)
    )
    return Regimen(time, Doses(*doses))
