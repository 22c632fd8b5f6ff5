"""A population fit by a posterior network: the third stage of Arruda et al. (ICML 2024), with exact weights.

The network infers φ of each subject from its record: random effects η, which may have a mean, and logarithms
of residual standard deviations. A variance that is held near 0 makes these the same for all subjects. The
network is trained once under a wide prior, before any record is seen. Weights by the likelihood make its
draws exact.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Float64

from covary import nlme, rng
from covary.amortised.population import PopulationEstimate, fit_draws
from covary.amortised.problem import EngineSimulator
from covary.amortised.train import Trained
from covary.amortised.weights import smoothed
from covary.config.visits import Missing
from covary.errors import UserError
from covary.nlme.fit import estimate_table, typical_covariates
from covary.nlme.residual import PerOutput, ResidualError
from covary.nlme.shift import with_mean

DRAWS = 3000
_LOG_SD = 1.5  # prior standard deviation of the logarithm of a residual standard deviation
_SAME = 0.01  # variance of that logarithm between subjects: smaller ones leave few draws that count
_LEAST = 25  # draws that a subject’s weighted draws are worth, in the median, for an estimate to be relied on
_SUBJECTS_AT_ONCE = 100
_WIDE = 0.1  # share of draws from a wider distribution
_STEP = 1e-4  # of differences


class PopulationSimulator:
    """Records of subjects whose random effects and residual standard deviations come from a wide prior.

    φ ~ N(0, I) are the random effects in units of `width` initial standard deviations, and the logarithms of
    the ratios of residual standard deviations to the initial ones, in units of 1.5. Raises UserError if the
    model has several outputs, or a fixed effect that no random effect shifts.
    """

    def __init__(
        self,
        model: nlme.OdeModel | nlme.ClosedFormModel,
        initial: nlme.Parameters,
        design: nlme.Design,
        missing: Sequence[Missing],
        width: float,
    ):
        if isinstance(initial.residual, PerOutput):
            raise UserError("method amortised needs a model with one output")
        self.of_effects = EngineSimulator(model, initial, design, missing, width)
        self.model, self.initial, self.factor = model, initial.concrete(), self.of_effects.factor
        self.covariates = typical_covariates(design)
        with_mean(model, self.initial, np.zeros(len(self.factor)), self.covariates)
        self.times_h = self.of_effects.times_h
        self.k = self.of_effects.n_parameters
        self.n_parameters = self.k + len(self.initial.residual.standard_deviations())

    def residual(self, log_ratio: Float[Array, " residual"]) -> ResidualError:
        """The residual error from the last entries of φ."""
        initial = self.initial.residual.standard_deviations()
        sds = {name: sd * jnp.exp(_LOG_SD * log_ratio[j]) for j, (name, sd) in enumerate(initial.items())}
        return self.initial.residual.with_standard_deviations(sds)

    def predictions(self, phi: Float64[np.ndarray, "row d"]) -> Float64[np.ndarray, "row time"]:
        """Predictions, NaN where the structural model cannot be solved."""
        design = self.of_effects.design.rows(np.zeros(len(phi), dtype=np.int64))
        return nlme.predictions(self.model, self.initial, phi[:, : self.k] @ self.factor.T, design)

    def simulate(
        self, phi: Float64[np.ndarray, "subject d"], *, seed: int, stream: str, start: int
    ) -> Float64[np.ndarray, "subject time"]:
        """Records; a subject whose differential equation cannot be solved has NaN alone."""
        f = self.predictions(phi)
        noise = rng.normal(seed, f"{stream}/error", start, start + len(phi), (len(self.times_h),))
        y = np.array(jax.vmap(lambda r, *row: self.residual(r).observation(*row))(phi[:, self.k :], f, noise))
        y[~np.isfinite(f).all(axis=1)] = np.nan
        return self.of_effects.observed(
            y, phi[:, : self.k] @ self.factor.T, seed=seed, stream=stream, start=start
        )

    def log_likelihood(
        self, phi: Float64[np.ndarray, "subject draw d"], y: Float64[np.ndarray, "subject time"]
    ) -> Float64[np.ndarray, "subject draw"]:
        """log p(y | φ) of each draw; -inf where the structural model cannot be solved."""
        draws = phi.shape[1]

        def one(log_ratio, f, y):
            residual, value = self.residual(log_ratio), jnp.nan_to_num(y, nan=1.0)
            variance = residual.variance(f)
            squares = jnp.square(residual.transform(value) - residual.transform(f)) / variance
            terms = residual.log_jacobian(value) - 0.5 * (squares + jnp.log(2 * jnp.pi * variance))
            return jnp.sum(jnp.where(jnp.isnan(y), 0.0, terms))

        parts = []
        for begin in range(0, len(y), _SUBJECTS_AT_ONCE):
            some = slice(begin, begin + _SUBJECTS_AT_ONCE)
            rows = phi[some].reshape(-1, phi.shape[2])
            value = jax.vmap(one)(
                rows[:, self.k :], self.predictions(rows), np.repeat(y[some], draws, axis=0)
            )
            parts.append(np.asarray(value).reshape(-1, draws))
        found = np.concatenate(parts)
        return np.where(np.isfinite(found), found, -np.inf)


class AmortisedFit(NamedTuple):
    """A population fitted to draws of a posterior network. `standard_errors` are those of `natural()`.

    `minus_two_log_likelihood` is an estimate that lies above that of other methods, because few draws count
    and residual errors vary a little between subjects. It compares fits by draws of the same network.
    """

    parameters: nlme.Parameters
    standard_errors: Float64[np.ndarray, " p"]
    shrinkage: Float64[np.ndarray, " k"]
    minus_two_log_likelihood: float
    converged: bool
    verdict: str
    model: nlme.OdeModel | nlme.ClosedFormModel
    covariates: dict[str, float]

    def table(self) -> pd.DataFrame:
        """One row per parameter, in the columns of `PopulationFit.table`."""
        return estimate_table(
            self.model, self.parameters, self.covariates, self.standard_errors, self.shrinkage
        )


def fit_amortised(
    trained: Trained, simulator: PopulationSimulator, y: Float64[np.ndarray, "subject time"], *, seed: int
) -> AmortisedFit:
    """Fit the population to records, with a diagonal Ω, by a network that was trained on `simulator`.

    NaN is a missing visit. Raises UserError if the model can be solved for no draw of a subject.
    """
    d, k = simulator.n_parameters, simulator.k
    phi, log_q = trained.sample(y, DRAWS, seed=seed, stream="population_draws", wide=_WIDE)
    log_prior = -0.5 * np.sum(phi**2 + np.log(2 * np.pi), axis=2)
    log_weight = simulator.log_likelihood(phi, y) + log_prior - log_q
    weight, _ = smoothed(log_weight)
    top = log_weight.max(axis=1, keepdims=True)
    if (lost := np.flatnonzero(~np.isfinite(top[:, 0]))).size:
        raise UserError(
            f"subject {lost[0]}: the structural model cannot be solved for any draw of the network"
        )
    log_evidence = np.sum(top) + np.sum(np.log(np.mean(np.exp(log_weight - top), axis=1)))  # of the prior
    same = np.where(np.arange(d) < k, np.nan, _SAME / _LOG_SD**2)
    found = fit_draws(
        phi, np.zeros(d), np.eye(d), weights=weight, pinned=same, structure="diagonal", tolerance=2e-5,
        iterations=2000,
    )  # fmt: skip
    mean, variance = found.coefficients[0], np.diagonal(found.covariance)[:k]
    parameters = _population(simulator, mean, variance)
    size = DRAWS * np.median(found.share)
    verdict = f"{'converged' if found.converged else 'not converged'}; the median effective sample size is "
    verdict += f"{size:.0f} of {DRAWS} draws" + (", too few to rely on" if size < _LEAST else "")
    return AmortisedFit(
        parameters,
        _standard_errors(simulator, found, mean, variance),
        1 - np.std(found.posterior_mean[:, :k], axis=0, ddof=1) / np.sqrt(variance),
        float(2 * found.history[-1] - 2 * log_evidence),
        bool(found.converged and size >= _LEAST),
        verdict,
        simulator.model,
        simulator.covariates,
    )


def _population(simulator: PopulationSimulator, mean, variance) -> nlme.Parameters:
    """Parameters from the mean of φ and the variances of its random effects."""
    k, initial = simulator.k, simulator.initial
    omega = simulator.factor @ np.diag(variance) @ simulator.factor.T
    sds = simulator.residual(jnp.asarray(mean[k:])).standard_deviations()
    residual = initial.residual.with_standard_deviations({name: float(sd) for name, sd in sds.items()})
    parameters = dataclasses.replace(initial, omega=omega, residual=residual)
    return with_mean(simulator.model, parameters, simulator.factor @ mean[:k], simulator.covariates)


def _standard_errors(simulator: PopulationSimulator, found: PopulationEstimate, mean, variance) -> np.ndarray:
    """Of the natural parameters, by differences of what they are functions of."""
    d = simulator.n_parameters
    at = np.concatenate([mean, variance])

    def natural(vector):
        parameters = _population(simulator, vector[:d], vector[d:])
        return np.array([float(value) for value in parameters.natural().values()])

    steps = _STEP * np.maximum(np.abs(at), 0.1) * np.eye(len(at))
    slope = np.stack([(natural(at + s) - natural(at - s)) / (2 * s.sum()) for s in steps], axis=1)
    places = np.concatenate([np.arange(d), found.variance_places[: len(variance)]])
    covariance = found.uncertainty[np.ix_(places, places)]
    return np.sqrt(np.einsum("pi,ij,pj->p", slope, covariance, slope))
