"""Whether a model, its parameters and a design fit together; if not, one line names the method."""

import dataclasses
import re
import traceback
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from covary.errors import UserError
from covary.nlme.configuration import check_configured
from covary.nlme.design import MODELLED_DURATION, MODELLED_RATE, Design, Records, in_table
from covary.nlme.dosing import Dosing
from covary.nlme.lanes import Regimen, covariates_used, output_index, regimen_of
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.occasions import check_occasions
from covary.nlme.parameters import Parameters
from covary.nlme.steady import check_steady_state

_SCALAR = jax.ShapeDtypeStruct((), np.float64)


def check_model(model: OdeModel | ClosedFormModel, parameters: Parameters, design: Design) -> None:
    """Trace every method of a model once, as the engine will.

    Raises UserError that names the model, the method, and what it should have done; RuntimeError if nobody
    called `nlme.configure()`.
    """
    check_configured()
    name = type(model).__name__
    effects = tuple(model.random_effects)
    if set(parameters.theta) != set(model.fixed_effects) or parameters.random_effects != effects:
        raise UserError(
            f"the parameters are not those of {name}: fixed effects {', '.join(parameters.theta)}"
        )
    p = _check_individual(model, parameters, design)
    named = _check_dosing(model, p, design)
    if isinstance(model, ClosedFormModel):
        regimen = regimen_of(design.rows(np.array([0])))
        shapes = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype), regimen)
        f = _trace(model, "closed_form", shapes.time_h, shapes.doses, p)
        _check_outputs(model, "closed_form", f, (design.time_h.shape[1],))
        if model.compartments is not None:
            _check_compartments(model, model.compartments, design)
        else:
            _check_compartments_are_told_apart(model, shapes, p, design, named)
    else:
        _check_ode(model, p, design)
    output_index(model, design)
    covariates_used(model, design)
    check_occasions(model, design)
    check_steady_state(model, parameters, design)


def check_records(model: OdeModel | ClosedFormModel, parameters: Parameters, records: Records) -> None:
    """`check_model`, and whether every observation is possible under the residual error.

    Raises UserError that names subject and observation.
    """
    design, present = records.design, records.present
    check_model(model, parameters, design)
    residual = parameters.residual.of(output_index(model, design))
    transformed = np.asarray(residual.transform(np.where(present, records.observation, 1.0)))
    impossible = present & ~np.isfinite(transformed)
    if impossible.any():
        subject, j = np.argwhere(impossible)[0]
        row = 0 if design.shared else subject
        raise UserError(
            f"subject {design.name(subject)}: observation {j + 1} at {design.time_h[row, j]:g} h"
            f"{in_table(design.observation_line, row, j)} must be > 0 with a log-normal residual error, "
            f"got {records.observation[subject, j]:g}"
        )


def _check_individual(model, parameters: Parameters, design: Design) -> dict:
    """The individual parameters as shapes."""
    name, k = type(model).__name__, len(model.random_effects)
    theta = dict.fromkeys(parameters.theta, _SCALAR)
    changing = () if design.varying is None else design.varying.value
    covariates = dict.fromkeys((*design.covariates, *changing), _SCALAR)
    # JAX takes the last entry for an index beyond the end. NumPy does not.
    try:
        jax.eval_shape(lambda t, c: model.individual(t, np.zeros(k), c), theta, covariates)
    except IndexError as fault:
        seen = k - len(model.occasion_effects) * (model.occasions[0] - 1 if model.occasions else 0)
        raise UserError(
            f"{name}.individual{_place('individual', fault)}: there are {seen} random effects, eta[0] … "
            f"eta[{seen - 1}] ({', '.join(model.random_effects[:seen])}): {fault}"
        ) from fault
    except Exception:  # NumPy refuses some of what JAX allows; the trace below names real faults.
        pass
    try:
        p = _trace(model, "individual", theta, jax.ShapeDtypeStruct((k,), np.float64), covariates)
    except KeyError as missing:
        why = design.unusable.get(missing.args[0], ", ".join(covariates) or "there are none")
        raise UserError(
            f"{name}.individual needs {missing}, which is neither a fixed effect nor a covariate ({why})"
        ) from missing
    if not isinstance(p, dict):
        raise UserError(f"{name}.individual must return a dictionary of numbers, got {type(p).__name__}")
    for key, value in p.items():
        if value.shape != ():
            raise UserError(f"{name}.individual must return a number for {key}, got shape {value.shape}")
    return p


def _check_dosing(model, p: dict, design: Design) -> set[int]:
    """Whether `dosing` returns numbers, and all that the doses need; the compartments that it names."""
    name = type(model).__name__
    dosing = _trace(model, "dosing", p)
    if not isinstance(dosing, dict) or not all(isinstance(v, Dosing) for v in dosing.values()):
        raise UserError(f"{name}.dosing must return a dictionary of nlme.Dosing by compartment")
    for number, own in dosing.items():
        if not isinstance(number, int) or number < 1:
            raise UserError(f"{name}.dosing: compartments are 1, 2, …, got {number!r}")
        for field, value in own._asdict().items():
            if value is not None and value.shape != ():
                raise UserError(f"{name}.dosing: {field} must be a number, got shape {value.shape}")
    if design.dose_rate is None:
        return set(dosing)
    for code, field in ((MODELLED_RATE, "rate"), (MODELLED_DURATION, "duration_h")):
        for row, dose in np.argwhere(design.dose_rate == code):
            compartment = int(design.dose_compartment[row, dose]) + 1
            if compartment not in dosing or getattr(dosing[compartment], field) is None:
                raise UserError(
                    f"subject {design.name(row)}: RATE is {code:g} at {design.dose_time_h[row, dose]:g} h, "
                    f"but {name}.dosing gives no {field} of compartment {compartment}"
                    f"{in_table(design.dose_line, row, dose)}"
                )
    return set(dosing)


def _check_ode(model: OdeModel, p: dict, design: Design) -> None:
    name = type(model).__name__
    y = _trace(model, "initial_state", p)
    _check_is_state(name, "initial_state", y)
    state = tuple(_SCALAR for _ in range(len(y)))
    derivative = _trace(model, "vector_field", _SCALAR, state, p)
    _check_is_state(name, "vector_field", derivative)
    for method, value in (("initial_state", y), ("vector_field", derivative)):
        shapes = (
            [np.shape(part) for part in value]
            if isinstance(value, tuple | list)
            else [value.shape[1:]] * len(value)
        )
        if len(shapes) != len(state) or any(shapes):
            raise UserError(
                f"{name}.{method} must return {len(state)} numbers, one per state, got shapes {shapes}"
            )
    _check_outputs(model, "prediction", _trace(model, "prediction", _SCALAR, state, p), ())
    _check_compartments(model, len(state), design)


def _check_compartments(model: OdeModel | ClosedFormModel, n: int, design: Design) -> None:
    """Raise UserError if a dose goes into a compartment that the model does not have."""
    wrong = (design.dose_amount > 0) & (design.dose_compartment >= n)
    if wrong.any():
        row, dose = np.argwhere(wrong)[0]
        of_subject = "" if design.shared and design.subject_ids is None else f"subject {design.name(row)}: "
        raise UserError(
            f"{of_subject}doses must go to compartments 1 … {n} of {type(model).__name__}, "
            f"got {int(design.dose_compartment[row, dose]) + 1} at {design.dose_time_h[row, dose]:g} h"
            f"{in_table(design.dose_line, row, dose)}"
        )


def _check_compartments_are_told_apart(
    model: ClosedFormModel, shapes: Regimen, p: dict, design: Design, named: set[int]
) -> None:
    """Raise UserError if doses go into several compartments, which neither the formula nor `dosing`, which
    names some, tells apart."""
    into = (np.unique(design.dose_compartment[design.dose_amount > 0]) + 1).tolist()
    if len(into) < 2 or named.issuperset(into):
        return

    def formula(compartment, time_h, doses, p):
        return model.closed_form(time_h, dataclasses.replace(doses, compartment=compartment), p)

    program = jax.make_jaxpr(formula)(shapes.doses.compartment, shapes.time_h, shapes.doses, p).jaxpr
    if not any(used is program.invars[0] for equation in program.eqns for used in equation.invars):
        raise UserError(
            f"doses go to compartments {', '.join(map(str, into))}, but {type(model).__name__}.closed_form "
            "does not look at doses.compartment; tell them apart there, or choose rows with `accept`"
        )


def _check_is_state(name: str, method: str, value) -> None:
    if isinstance(value, dict) or (not isinstance(value, tuple | list) and value.shape == ()):
        got = "a dictionary" if isinstance(value, dict) else "a single number; (x,) is a state of one"
        raise UserError(f"{name}.{method} must return a tuple of numbers, one per state, got {got}")


def _check_outputs(model, method: str, f, shape: tuple[int, ...]) -> None:
    name, wanted = type(model).__name__, "a number" if shape == () else f"shape {shape}"
    if not model.outputs:
        if isinstance(f, dict | tuple | list) or f.shape != shape:
            if isinstance(f, dict):
                got = f"outputs {', '.join(f)}; declare `outputs`"
            else:
                got = f"a {type(f).__name__}" if isinstance(f, tuple | list) else f"shape {f.shape}"
            raise UserError(f"{name}.{method} must return {wanted}, got {got}")
        return
    names = list(model.outputs.values())
    if not isinstance(f, dict) or set(f) != set(names):
        got = ", ".join(f) if isinstance(f, dict) else type(f).__name__
        raise UserError(f"{name}.{method} must return a dictionary of {', '.join(names)}, got {got}")
    for output, value in f.items():
        if value.shape != shape:
            raise UserError(f"{name}.{method} must return {wanted} for {output}, got shape {value.shape}")


def _trace(model, method: str, *arguments) -> Any:
    """What a method returns, as shapes."""
    function: Callable = getattr(model, method)
    try:
        return jax.eval_shape(lambda *a: jax.tree.map(jnp.asarray, function(*a)), *arguments)
    except jax.errors.TracerBoolConversionError as fault:
        advice = "`if`, `and`, `or`, min and max cannot depend on values; use jnp.where(condition, a, b)"
        raise UserError(f"{type(model).__name__}.{method}{_place(method, fault)}: {advice}") from fault
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as fault:
        advice = "NumPy, math and float() cannot take values of a model; use jax.numpy (jnp.exp, …)"
        raise UserError(f"{type(model).__name__}.{method}{_place(method, fault)}: {advice}") from fault
    except IndexError as fault:
        if method not in ("vector_field", "prediction"):
            raise
        n = len(arguments[1])
        raise UserError(
            f"{type(model).__name__}.{method}{_place(method, fault)}: the model has {n} states, "
            f"y[0] … y[{n - 1}]"
        ) from fault
    except TypeError as fault:
        if method not in ("vector_field", "prediction") or not re.search("tuple|sequence", str(fault)):
            raise
        raise UserError(
            f"{type(model).__name__}.{method}{_place(method, fault)}: y is a tuple of numbers, one per "
            f"state; unpack it, take y[0], or use jnp.stack(y) ({' '.join(str(fault).split())})"
        ) from fault
    except KeyError as missing:
        if method == "individual":
            raise
        raise UserError(
            f"{type(model).__name__}.{method}{_place(method, missing)} needs {missing}, which individual "
            f"does not return"
        ) from missing


def _place(method: str, fault: Exception) -> str:
    """` (line 12)`: the last line of the method that the error went through."""
    lines = [frame.lineno for frame in traceback.extract_tb(fault.__traceback__) if frame.name == method]
    return f" (line {lines[-1]})" if lines else ""
