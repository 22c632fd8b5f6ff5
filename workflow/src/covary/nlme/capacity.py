"""Capacity guard: whether a network has memorised its training subjects.

A network that tells subjects apart, for instance by covariates that no two of them share, can take over what
their random effects are for: Ω falls on the training subjects, σ stays, and every check of the fit passes.
New subjects give it away, since their Ω does not fall.
"""

import dataclasses
import logging
from collections.abc import Mapping

import numpy as np
import pandas as pd

from covary.errors import UserError
from covary.nlme.design import Records
from covary.nlme.fit import fit_population
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters

log = logging.getLogger(__name__)

_QUANTILE = 1.96
_COLUMNS = (
    *("model", "random_effect", "training", "held_out"),
    *("ratio", "low", "high", "sd_ratio", "memorised"),
)


def capacity(
    models: Mapping[str, tuple[OdeModel | ClosedFormModel, Parameters]],
    training: Records,
    held_out: Records,
    *,
    method: str = "focei",
) -> pd.DataFrame:
    """Variances of random effects on training and on held-out subjects, under each fitted model.

    Ω and σ are estimated anew from each set of subjects, with the fixed effects and the weights of the fit.
    One row per model and random effect: model, random_effect, training, held_out (variances), ratio of the
    two with a 95 % interval (low, high; variances of normal samples), sd_ratio (the largest change of a
    residual standard deviation, as a ratio ≥ 1) and memorised: the ratio is below 1 beyond chance. A warning
    is logged for each model that has memorised. Give a model without the network and networks of two widths.

    Raises UserError if a set has fewer than three subjects, or as `fit_population` does.
    """
    sizes = [records.design.n_subjects for records in (training, held_out)]
    if min(sizes) < 3:
        raise UserError(f"the capacity guard needs 3 subjects in each set, got {sizes[0]} and {sizes[1]}")
    half = _QUANTILE * np.sqrt(sum(2 / (n - 1) for n in sizes))
    rows = []
    for name, (model, parameters) in models.items():
        on = [_variability(model, parameters, records, method) for records in (training, held_out)]
        (omega, sd), (new_omega, new_sd) = on
        change = np.max(np.exp(np.abs(np.log(sd / new_sd))), initial=1.0)
        for effect, own, new in zip(parameters.random_effects, omega, new_omega, strict=True):
            ratio = own / new
            low, high = ratio * np.exp(-half), ratio * np.exp(half)
            rows.append((name, effect, own, new, ratio, low, high, change, high < 1))
        if lost := [row for row in rows if row[0] == name and row[-1]]:
            effects = ", ".join(f"{row[1]} ({row[2]:.3g} against {row[3]:.3g})" for row in lost)
            log.warning(
                "%s: the variance of %s is smaller on training than on held-out subjects: the network has "
                "memorised subjects; make it narrower or lower prior_sd", name, effects,
            )  # fmt: skip
    return pd.DataFrame(rows, columns=_COLUMNS)


def _variability(model, parameters: Parameters, records: Records, method: str):
    """The diagonal of Ω and the residual standard deviations that these records have."""
    # A variance that has collapsed is no start: the search begins at what 1 % of the largest would be.
    diagonal = np.diag(parameters.omega)
    start = np.diag(np.maximum(diagonal, 0.01 * max(diagonal.max(), 1.0)))
    begun = dataclasses.replace(parameters, omega=start, blocks=tuple((i,) for i in range(len(start))))
    fixed = tuple(parameters.theta)
    fitted = fit_population(model, records, begun, method=method, fixed=fixed, covariance=False).parameters
    sd = np.array([float(value) for value in fitted.residual.standard_deviations().values()])
    return np.diag(fitted.omega), sd
