"""Exact posteriors from a posterior network: its draws, weighted by the known likelihood.

A subject gets the first of these that can be relied on, which its status says:

1. draws of the network with Pareto-smoothed weights, where the network has seen such records, k̂ < 0.7 and the
   effective sample size is not low;
2. the engine's own sampler around the mode, where its effective sample size is not low;
3. short Markov chains that start from these draws.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int64

from covary import nlme, rng
from covary.amortised.chain import metropolis
from covary.amortised.train import Trained
from covary.amortised.weights import sample_size, smoothed
from covary.nlme.likelihood import LogJoint
from covary.nlme.solvers.lanes import Tolerance
from covary.resampling import exchangeable

RELIABLE_K = 0.7
LOW_SAMPLE_SIZE = 0.05  # of the draws
_LOW_ENGINE = 0.2  # of the draws that are kept, of which the engine's sampler proposes four times as many
WIDE = 0.1  # share of the network's draws from a wider distribution, where its tails are too thin
_SUBJECTS_AT_ONCE = 4096
# Log weights are then right to 1e-3 on the paper's model (benchmarks/README.md, Posterior networks).
_SOLVER = Tolerance(1e-6, 1e-7)


class Source(IntEnum):
    """Where the draws of a subject come from."""

    NETWORK = 0
    ENGINE = 1  # the network's draws could not be relied on
    CHAIN = 2  # nor could those of the engine's sampler
    NONE = 3  # the structural model cannot be solved near the record


class ExactDraws(NamedTuple):
    """Draws of each subject's exact posterior, as `nlme.Draws`, and how they came about.

    `effective_sample_size` and `pareto_k` are those of the network's weighted draws, whatever the source;
    `unfamiliar` says whose record the network has not seen the like of.
    """

    draws: nlme.Draws
    pareto_k: Float64[np.ndarray, " subject"]
    unfamiliar: Bool[np.ndarray, " subject"]
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
    wide: float = WIDE,
    mean: Float64[np.ndarray, " k"] | None = None,
) -> WeightedDraws:
    """Draws η = factor φ − mean of the network, weighted to the posterior under `parameters`.

    `factor` is that of the `EngineSimulator` of the training. `mean`, by default 0, is that of `mean_between`
    the population of the training and `parameters`, where fixed effects differ. The weight of a draw is
    p(y, η)/q(η | y), where a share `wide` of the draws comes from a wider q.
    """
    parameters = parameters.concrete()
    y = np.where(records.present, records.observation, np.nan)
    k = len(factor)
    jacobian = np.log(np.abs(np.diagonal(factor))).sum()
    prior = 0.5 * (np.linalg.slogdet(parameters.omega)[1] + k * np.log(2 * np.pi))
    parts = []
    for begin in range(0, len(y), _SUBJECTS_AT_ONCE):
        some = slice(begin, begin + _SUBJECTS_AT_ONCE)
        phi, log_q = trained.sample(
            y[some], draws, seed=seed, stream=stream, start=first_subject + begin, wide=wide
        )
        eta = phi @ factor.T - (0.0 if mean is None else mean)
        log_joint = LogJoint(model, parameters, records[some], _SOLVER)(eta)
        log_weight = log_joint - prior - (log_q - jacobian)
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
    mean: Float64[np.ndarray, " k"] | None = None,
) -> ExactDraws:
    """`n_draws` equal draws per subject from its exact posterior under `parameters`.

    The network makes `proposals` draws for each that is kept; `factor` and `mean` are as in `weighted_draws`.
    Draws of a subject are keyed by (seed, stream, its number), subjects counting from `first_subject`.
    """
    proposed = weighted_draws(
        trained, factor, model, parameters, records, proposals * n_draws, seed=seed, stream=stream,
        first_subject=first_subject, mean=mean,
    )  # fmt: skip
    n, n_proposed = proposed.weight.shape
    size = sample_size(proposed.weight)
    u = rng.uniform(seed, f"{stream}/resample", first_subject, first_subject + n, (1 + n_draws,))
    eta = np.take_along_axis(proposed.eta, exchangeable(proposed.weight, u)[..., None], axis=1)
    log_marginal = proposed.log_marginal.copy()
    unfamiliar = trained.unfamiliar(np.where(records.present, records.observation, np.nan))
    poor = unfamiliar | ~(proposed.pareto_k < RELIABLE_K) | (size < LOW_SAMPLE_SIZE * n_proposed)
    source = np.full(n, Source.NETWORK, dtype=np.int8)
    if (some := np.flatnonzero(poor)).size:
        eta[some], log_marginal[some], source[some] = _without_network(
            model,
            parameters,
            records[some],
            eta[some],
            log_marginal[some],
            seed,
            stream,
            first_subject + some,
        )
    return ExactDraws(nlme.Draws(eta, size, log_marginal), proposed.pareto_k, unfamiliar, source)


def _without_network(
    model, parameters, records, eta, log_marginal, seed, stream, numbers: Int64[np.ndarray, " subject"]
) -> tuple[np.ndarray, np.ndarray, Int8[np.ndarray, " subject"]]:
    """Draws, log p(y) and source of subjects whose draws by the network, `eta`, cannot be relied on."""
    n_draws = eta.shape[1]
    modes = nlme.empirical_bayes(model, parameters, records)
    engine = nlme.posterior_draws(
        model, parameters, records, modes, n_draws, seed, stream=f"{stream}/engine", subjects=numbers
    )
    found = np.isfinite(engine.log_marginal)
    eta = np.where(found[:, None, None], engine.eta, eta)
    log_marginal = np.where(found, engine.log_marginal, log_marginal)
    source = np.full(len(eta), Source.ENGINE, dtype=np.int8)
    low = ~found | (engine.effective_sample_size < _LOW_ENGINE * n_draws)
    if (some := np.flatnonzero(low)).size:
        target = LogJoint(model, parameters.concrete(), records[some])
        eta[some] = metropolis(target, eta[some], seed=seed, stream=f"{stream}/chain", numbers=numbers[some])
        solved = np.isfinite(target(eta[some])).all(axis=1)
        source[some] = np.where(solved, Source.CHAIN, Source.NONE)
        eta[some[~solved]], log_marginal[some[~solved]] = np.nan, np.nan
    return eta, log_marginal, source
