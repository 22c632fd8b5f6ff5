"""Evidence: ln p(records) of a population model, estimated in several ways that can be told apart.

One scale for models of different kind: classical, with a network, purely latent. Two estimates are lower
bounds in expectation (ELBO ≤ IWAE ≤ ln p), quadrature converges, importance sampling is unbiased for p
itself, Laplace and FOCE are approximations without an error of their own. All include the factor 2π of every
observation, unlike an OFV.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64
from scipy.special import stdtrit

from covary.errors import UserError
from covary.nlme.design import Records
from covary.nlme.empirical_bayes import empirical_bayes
from covary.nlme.marginal import objective
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters
from covary.nlme.posterior import posterior_draws
from covary.nlme.quadrature import adaptive_quadrature
from covary.nlme.variational import variational_posterior

METHODS = ("foce", "laplace", "quadrature", "importance_sampling", "elbo", "iwae")
_PROPOSALS_PER_DRAW = 4  # of `posterior_draws`
_LOG_2PI = float(np.log(2 * np.pi))


class Evidence(NamedTuple):
    """ln p(y) of each subject by several methods, a column each.

    `error` is the standard error of Monte Carlo, 0 for methods without draws. Their own error is not in it.
    """

    value: pd.DataFrame
    error: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """One row per method: the evidence of all subjects and its standard error."""
        return pd.DataFrame(
            {
                "method": self.value.columns,
                "evidence": self.value.sum().to_numpy(),
                "error": np.sqrt(np.square(self.error).sum()).to_numpy(),
            }
        )

    def __repr__(self) -> str:
        table = self.table()
        totals = ", ".join(
            f"{method} {value:.2f}" + (f" ± {error:.2f}" if error else "")
            for method, value, error in zip(table["method"], table["evidence"], table["error"], strict=True)
        )
        return f"Evidence({len(self.value)} subjects: {totals})"


class Difference(NamedTuple):
    """By how much the evidence of one model is above that of another: the sum over subjects with a 95 %
    interval over subjects (Student's t)."""

    sum: float
    low: float
    high: float


def evidence(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    records: Records,
    *,
    methods: tuple[str, ...] = METHODS,
    draws: int = 256,
    points: int = 7,
    seed: int = 0,
    mean_field: bool = False,
) -> Evidence:
    """ln p(y) of each subject by each of `methods`.

    `draws` is the number of draws of the ELBO, of the IWAE (its K) and of importance sampling; `points` that
    of the quadrature along each random effect; `mean_field` makes the random effects independent in the q of
    the two bounds. Subjects without an observation have evidence 0.

    Raises UserError if a method is unknown or model, parameters and records do not fit together.
    """
    if unknown := [method for method in methods if method not in METHODS]:
        raise UserError(f"methods of evidence are {', '.join(METHODS)}, got {unknown[0]}")
    exact = records.present if records.bounds is None else records.present & np.isnan(records.bounds.low)
    constant = 0.5 * _LOG_2PI * exact.sum(axis=1)
    value: dict[str, np.ndarray] = {}
    error: dict[str, np.ndarray] = {}
    zero = np.zeros(len(records.observation))
    for method, approximation in (("foce", "focei"), ("laplace", "laplacei")):
        if method in methods:
            ofv = objective(model, parameters, records, method=approximation).ofv
            value[method], error[method] = -0.5 * ofv - constant, zero
    if "quadrature" in methods:
        ofv = adaptive_quadrature(model, parameters, records, points=points)
        value["quadrature"], error["quadrature"] = -0.5 * ofv - constant, zero
    if "importance_sampling" in methods:
        modes = empirical_bayes(model, parameters, records)
        n = max(draws // _PROPOSALS_PER_DRAW, 1)
        drawn = posterior_draws(model, parameters, records, modes, n, seed, stream="evidence")
        value["importance_sampling"] = drawn.log_marginal - constant
        spread = 1 / np.maximum(drawn.effective_sample_size, 1e-300) - 1 / (n * _PROPOSALS_PER_DRAW)
        error["importance_sampling"] = np.sqrt(np.maximum(spread, 0.0))
    if {"elbo", "iwae"} & set(methods):
        bound = variational_posterior(
            model, parameters, records, seed=seed, evaluation_draws=draws, mean_field=mean_field
        ).bound
        value["elbo"], error["elbo"] = bound.elbo, bound.elbo_error
        value["iwae"], error["iwae"] = bound.iwae, bound.iwae_error
    names = [records.design.name(i) for i in range(len(zero))]
    chosen = [method for method in METHODS if method in methods]
    index = pd.Index(names, name="subject")
    return Evidence(*(pd.DataFrame(part, index=index)[chosen] for part in (value, error)))


def first_visits(records: Records, visits: int) -> Records:
    """The records of the first so many observations of each subject.

    The evidence of the whole minus that of these is the evidence of the rest given them.
    """
    early: Bool[np.ndarray, "subject time"] = np.cumsum(records.present, axis=1) <= visits
    return dataclasses.replace(records, present=records.present & early)


def difference(
    first: Float64[np.ndarray, " subject"] | pd.Series, second: Float64[np.ndarray, " subject"] | pd.Series
) -> Difference:
    """The paired difference of two columns of evidence of the same subjects.

    Raises UserError if there are fewer than two subjects or their numbers differ.
    """
    a, b = np.asarray(first), np.asarray(second)
    if len(a) != len(b) or len(a) < 2:
        raise UserError(
            f"a paired difference needs the same subjects, two or more, got {len(a)} and {len(b)}"
        )
    n, gap = len(a), a - b
    half = float(stdtrit(n - 1, 0.975) * gap.std(ddof=1) * np.sqrt(n))
    return Difference(float(gap.sum()), float(gap.sum()) - half, float(gap.sum()) + half)
