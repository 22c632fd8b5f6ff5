"""The groups of a dataset: from arrays of the engine and of predictors to labelled ones, and back."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Float, Float32, Float64

from covary import nlme, store

_PREDICTIONS = {
    "eta_pred": "random effects of the record, predicted",
    "eta_read": "random effects of the image, read from it",
}
_FROM_READING = "random effects of the record, predicted from those that a network read from the image"
_TIME = "time"  # in place of the model's unit of time
_DOSES = {
    "dose_time_h": ("time of the dose", _TIME),
    "dose_amount": ("amount of the dose, 0 for none", "dose unit"),
    "dose_duration_h": ("duration of the infusion, 0 for a bolus", _TIME),
    "dose_compartment": ("compartment of the dose, counted from 1", "1"),
}


def label_design(
    design: nlme.Design, parameters: nlme.Parameters, model: nlme.OdeModel | nlme.ClosedFormModel
) -> xr.Dataset:
    """The group `design`: visits, doses and covariates of every subject, and the true parameters.

    Arrays that all subjects share have no dimension `subject`. Units and the names of the random effects are
    those of the model.
    """
    row = () if design.shared else ("subject",)
    pick = (lambda array: array[0]) if design.shared else (lambda array: array)
    variables = {
        "start_h": (
            row or ("row",),
            design.start_h,
            {"long_name": "time at which the model is in its initial state", "units": model.time_unit},
        ),
        "time_h": (
            (*row, "time"),
            pick(design.time_h),
            {"long_name": "time of the visit", "units": model.time_unit},
        ),
        "observed": (
            (*row, "time"),
            pick(np.asarray(design.observed)).astype(np.uint8),
            {"long_name": "whether the visit belongs to the schedule", "units": "1"},
        ),
        "doses_before": (
            (*row, "time"),
            pick(np.asarray(design.doses_before)),
            {"long_name": "how many doses come before the visit", "units": "1"},
        ),
    }
    for name, (meaning, units) in _DOSES.items():
        values = pick(np.asarray(getattr(design, name)))
        values = values + 1 if name == "dose_compartment" else values
        unit = model.time_unit if units == _TIME else units
        variables[name] = ((*row, "dose"), values, {"long_name": meaning, "units": unit})
    for name, values in design.covariates.items():
        attributes = {"long_name": f"covariate {name}", "units": "as in the model", "covariate": name}
        every = np.broadcast_to(values, design.n_subjects)
        variables[f"covariate_{name}"] = (("subject",), every, attributes)
    return xr.Dataset(
        variables,
        attrs={
            "parameters": nlme.parameters_to_json(parameters),
            "random_effects": list(model.random_effects),
        },
    )


def design_of(group: xr.Dataset, n_subjects: int) -> nlme.Design:
    """The design again, from its group."""

    def rows(name: str) -> np.ndarray:
        values = group[name].values
        return values if "subject" in group[name].dims else values[None]

    return nlme.Design(
        n_subjects,
        np.atleast_1d(group["start_h"].values),
        rows("time_h"),
        rows("observed").astype(bool),
        rows("dose_time_h"),
        rows("dose_amount"),
        rows("dose_duration_h"),
        rows("dose_compartment") - 1,
        rows("doses_before"),
        {
            variable.attrs["covariate"]: variable.values
            for variable in group.data_vars.values()
            if "covariate" in variable.attrs
        },
    )


def label_records(
    eta_hat: Float[np.ndarray, "subject random_effect"],
    observation: Float[np.ndarray, "subject time"],
    times_h: Float64[np.ndarray, " time"],
    model: nlme.OdeModel | nlme.ClosedFormModel,
) -> xr.Dataset:
    """The group `longitudinal/<scenario>`; a NaN is a visit that is missing. Units are those of the model."""
    effects = {"long_name": "random effects that drive the record", "units": "1"}
    outcome = {"long_name": "simulated outcome with residual error", "units": model.outcome_unit}
    present = {"long_name": "whether the visit took place", "units": "1"}
    return xr.Dataset(
        {
            "eta_hat": (("subject", "random_effect"), eta_hat.astype(np.float32), effects),
            "observation": (("subject", "time"), observation.astype(np.float32), outcome),
            "present": (("subject", "time"), np.isfinite(observation).astype(np.uint8), present),
        },
        coords={"time": ("time", np.asarray(times_h), {"long_name": "time", "units": model.time_unit})},
    )


def label_estimates(estimates: nlme.EmpiricalBayes) -> xr.Dataset:
    """The group `estimates/<scenario>`."""
    meanings = " ".join(status.name.lower() for status in nlme.Status)
    return xr.Dataset(
        {
            "eta_approx": (
                ("subject", "random_effect"),
                estimates.eta.astype(np.float32),
                {"long_name": "empirical Bayes estimate of eta_hat", "units": "1"},
            ),
            "precision": (
                ("subject", "random_effect", "random_effect_2"),
                estimates.precision.astype(np.float32),
                {"long_name": "Hessian of the negative log joint density at the estimate", "units": "1"},
            ),
            "objective": (
                "subject",
                estimates.objective,
                {"long_name": "negative log joint density at the estimate", "units": "1"},
            ),
            "status": (
                "subject",
                estimates.status,
                {
                    "long_name": "how the estimation ended",
                    "units": "1",
                    "flag_values": [int(status) for status in nlme.Status],
                    "flag_meanings": meanings,
                },
            ),
        }
    )


def modes_of(estimates: xr.Dataset) -> nlme.EmpiricalBayes:
    """The estimates again, from their group or some subjects of it, as far as the dataset keeps them."""
    eta, precision = (estimates[name].values.astype(np.float64) for name in ("eta_approx", "precision"))
    return nlme.EmpiricalBayes(
        eta, precision, estimates["objective"].values, np.zeros(len(eta)), estimates["status"].values
    )


def eta_pred_read(network: str) -> str:
    """The variable of an oracle's group with its predictions from what this network reads from images."""
    return f"eta_pred_read_{network}"


def write_predictions(
    dataset: Path,
    group: str,
    subjects: slice,
    predictions: Mapping[str, Float32[np.ndarray, "subject random_effect"]],
    marker: Path,
    code: str,
    *,
    covariance: Float[np.ndarray, "random_effect random_effect"] | None = None,
) -> None:
    """Write a group of predictions and its marker: arrays by name, and V where there is one."""
    variables = {
        variable: (
            ("subject", "random_effect"),
            values,
            {"long_name": _PREDICTIONS.get(variable, _FROM_READING), "units": "1"},
        )
        for variable, values in predictions.items()
    }
    if covariance is not None:
        meaning = {"long_name": "covariance of eta_hat around eta_pred", "units": "1"}
        variables["covariance"] = (("random_effect", "random_effect_2"), covariance, meaning)
    numbers = np.arange(subjects.start, subjects.stop)
    frame = xr.Dataset(variables, coords={"subject": ("subject", numbers, {"long_name": "subject"})})
    store.write_group(dataset, group, frame, marker, {"code": code})
