"""Exact posteriors from a posterior network: its draws, weighted by the known likelihood.

A subject gets the first of these that can be relied on, which its status says:

1. draws of the network with Pareto-smoothed weights, where k̂ < 0.7 and the sample size is not low;
2. the engine's own sampler around the mode.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int8

from covary import nlme, rng
from covary.amortised.train import Trained
from covary.amortised.weights import sample_size, smoothed
from covary.nlme.likelihood import LogJoint

RELIABLE_K = 0.7
LOW_SAMPLE_SIZE = 0.05  # of the draws
_SUBJECTS_AT_ONCE = 4096


class Source(IntEnum):
    """Where the draws of a subject come from."""

    NETWORK = 0
    ENGINE = 1  # the network's draws could not be relied on
    NONE = 2  # the engine found no mode either


class ExactDraws(NamedTuple):
    """Draws of each subject's exact posterior, as `nlme.Draws`, and how they came about.

    `effective_sample_size` and `pareto_k` are those of the network's weighted draws, whatever the source.
    """

    draws: nlme.Draws
    pareto_k: Float64[np.ndarray, " subject"]
    source: Int8[np.ndarray, " subject"]


class WeightedDraws(NamedTuple):
    """Draws of a network with weights that sum to 1, and log p(y) as they estimate it."""

    eta: Float64[np.ndarray, "subject draw k"]
    weight: Float64[np.ndarray, "subject draw"]
    pareto_k: Float64[np.ndarray, " subject"]
    log_marginal: Float64[np.ndarray, " subject"]


def weighted_draws(
    trained: Trained,
    factor: Float64[np.ndarray, "k k"],
    model: nlme.OdeModel | nlme.ClosedFormModel,
    parameters: nlme.Parameters,
    records: nlme.Records,
    draws: int,
    *,
    seed: int,
    stream: str,
    first_subject: int = 0,
) -> WeightedDraws:
    """Draws η = factor φ of the network, weighted to the posterior under `parameters`.

    `factor` is that of the `EngineSimulator` of the training. The weight of a draw is p(y, η)/q(η | y).
    """
    parameters = parameters.concrete()
    y = np.where(records.present, records.observation, np.nan)
    k = len(factor)
    jacobian = np.log(np.abs(np.diagonal(factor))).sum()
    prior = 0.5 * (np.linalg.slogdet(parameters.omega)[1] + k * np.log(2 * np.pi))
    parts = []
    for begin in range(0, len(y), _SUBJECTS_AT_ONCE):
        some = slice(begin, begin + _SUBJECTS_AT_ONCE)
        phi, log_q = trained.sample(y[some], draws, seed=seed, stream=stream, start=first_subject + begin)
        eta = phi @ factor.T
        log_weight = LogJoint(model, parameters, records[some])(eta) - prior - (log_q - jacobian)
        weight, pareto_k = smoothed(log_weight)
        top = np.maximum(log_weight.max(axis=1), -1e300)
        log_mean = top + np.log(np.mean(np.exp(log_weight - top[:, None]), axis=1))
        parts.append(WeightedDraws(eta, weight, pareto_k, log_mean))
    return WeightedDraws(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def exact_draws(
    trained: Trained,
    factor: Float64[np.ndarray, "k k"],
    model: nlme.OdeModel | nlme.ClosedFormModel,
    parameters: nlme.Parameters,
    records: nlme.Records,
    n_draws: int,
    seed: int,
    *,
    proposals: int = 4,
    stream: str = "amortised_draws",
    first_subject: int = 0,
) -> ExactDraws:
    """`n_draws` equal draws per subject from its exact posterior under `parameters`.

    The network makes `proposals` draws for each that is kept. Draws of a subject are keyed by (seed, stream,
    its number), subjects counting from `first_subject`.
    """
    proposed = weighted_draws(
        trained, factor, model, parameters, records, proposals * n_draws, seed=seed, stream=stream,
        first_subject=first_subject,
    )  # fmt: skip
    n = len(proposed.eta)
    size = sample_size(proposed.weight)
    offset = rng.uniform(seed, f"{stream}/resample", first_subject, first_subject + n, (1 + n_draws,))
    grid = (np.arange(n_draws) + offset[:, :1]) / n_draws
    cumulative = np.cumsum(proposed.weight, axis=1)
    last = proposed.eta.shape[1] - 1
    chosen = np.stack([np.searchsorted(c / c[-1], g) for c, g in zip(cumulative, grid, strict=True)])
    chosen = np.take_along_axis(np.minimum(chosen, last), np.argsort(offset[:, 1:], axis=1), axis=1)
    eta = np.take_along_axis(proposed.eta, chosen[..., None], axis=1)
    log_marginal = proposed.log_marginal.copy()
    source = np.full(n, Source.NETWORK, dtype=np.int8)
    poor = np.flatnonzero(~(proposed.pareto_k < RELIABLE_K) | (size < LOW_SAMPLE_SIZE * (last + 1)))
    if poor.size:
        some = records[poor]
        modes = nlme.empirical_bayes(model, parameters, some)
        engine = nlme.posterior_draws(
            model, parameters, some, modes, n_draws, seed, stream=f"{stream}/engine",
            subjects=first_subject + poor,
        )  # fmt: skip
        eta[poor], log_marginal[poor] = engine.eta, engine.log_marginal
        found = np.isfinite(engine.log_marginal)
        source[poor] = np.where(found, Source.ENGINE, Source.NONE)
    return ExactDraws(nlme.Draws(eta, size, log_marginal), proposed.pareto_k, source)
