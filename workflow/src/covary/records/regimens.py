"""Visits, doses and covariates of every subject: from the configuration to the design of the engine."""

import math
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from covary import nlme, rng
from covary.config.records import Covariate, Longitudinal
from covary.records.tables import design_of_table


def planned_design(settings: Longitudinal, n_subjects: int, seed: int) -> nlme.Design:
    """The design of a simulated study: visits and doses are the same for all subjects, covariates differ.

    With `settings.design`, a NONMEM table, each subject has the visits, doses and covariates of one of the
    table's subjects, drawn with replacement. What is drawn for subject i is keyed by (seed, name, i). Raises
    UserError if a dose, the times or the table make no sense.
    """
    if settings.design is not None:
        table = design_of_table(Path(settings.design))
        u = rng.uniform(seed, "design", 0, n_subjects, ())
        return table.rows(np.floor(u * table.n_subjects).astype(np.int64))
    return nlme.Design.regular(
        settings.times_h,
        n_subjects=n_subjects,
        doses=[nlme.Dose(**dose.model_dump()) for dose in settings.regimen],
        covariates={
            name: _draw(covariate, rng.uniform(seed, f"covariate/{name}", 0, n_subjects, ()))
            for name, covariate in settings.covariates.items()
        },
    )


def _draw(covariate: Covariate, u: Float64[np.ndarray, " subject"]) -> Float64[np.ndarray, " subject"]:
    """Quantiles of the distribution at u, by inversion, between its limits."""
    if covariate.sd == 0:
        return np.full(u.shape, covariate.mean)
    low = -math.inf if covariate.minimum is None else covariate.minimum
    high = math.inf if covariate.maximum is None else covariate.maximum
    if covariate.distribution == "normal":
        return _cut_normal(u, covariate.mean, covariate.sd, low, high)
    variance = math.log1p((covariate.sd / covariate.mean) ** 2)
    with np.errstate(divide="ignore"):
        limits = np.log([max(low, 0.0), high])
    return np.exp(_cut_normal(u, math.log(covariate.mean) - variance / 2, math.sqrt(variance), *limits))


def _cut_normal(
    u: Float64[np.ndarray, " subject"], mean: float, sd: float, low: float, high: float
) -> Float64[np.ndarray, " subject"]:
    from scipy.stats import truncnorm  # takes half a second, for which others need not wait

    return truncnorm.ppf(u, (low - mean) / sd, (high - mean) / sd, loc=mean, scale=sd)
