"""Whether the posteriors of a study can be trusted, on simulated records whose random effects are known.

Four posteriors of the same records are compared:

- `weighted`: what predictors get, draws of the posterior network that weights make exact;
- `laplace`: a normal distribution around the mode, with the curvature there;
- `network`: draws of the network, of which only the prior is changed to the population's, as one would do for
  a simulator without a likelihood;
- `blind`: the same with a network that does not know which visits are missing. It must fail.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float64

from covary import nlme, rng
from covary.amortised.exact import Source, exact_draws
from covary.amortised.problem import EngineSimulator, simulated
from covary.amortised.train import Trained
from covary.evaluate.coverage import (
    BINS,
    BLIND,
    DRAWS,
    JOINT,
    LAPLACE,
    NETWORK,
    WEIGHTED,
    calibration_table,
    rank_counts,
    ranks,
    strata_of,
)
from covary.nlme.likelihood import LogJoint
from covary.resampling import Resamples, exchangeable, percentile_interval

_PROPOSALS = 4 * DRAWS


class Posteriors(NamedTuple):
    """Draws of each record's posterior, and its log density at the truth; NaN where it has none."""

    eta: Float64[np.ndarray, "subject draw k"]
    log_density: Float64[np.ndarray, " subject"]


def check_posteriors(
    trained: Trained,
    blind: Trained,
    factor: Float64[np.ndarray, "k k"],
    simulator: EngineSimulator,
    subjects: int,
    *,
    seed: int,
    stream: str,
    resamples: int,
    mean: Float64[np.ndarray, " k"] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Check posteriors on records of `simulator`, whose prior is the population that predictors assume.

    `factor` is that of the simulator that both networks were trained with, and `mean` as in `weighted_draws`.
    Returns two tables.

    The first has one row per source, stratum of missing visits and parameter, with the columns of
    `coverage.calibration_table` and a parameter `joint`. Rows `joint` have further columns:
    negative_log_density, the mean of -log p(η | y) at the true η; excess, by how much it is above that of
    `weighted`, with a paired 95 % interval; and for `weighted` effective_sample_size (mean share of the
    draws), unfamiliar, and the share of subjects with each status.

    The second has the counts of ranks: source, random_effect, bin, count.
    """
    model, population = simulator.model, simulator.parameters
    names = list(model.random_effects)
    phi, y = simulated(simulator, 0, subjects, seed=seed, stream=stream)
    eta = phi @ simulator.factor.T
    present = np.isfinite(y)
    design = simulator.design.rows(np.zeros(subjects, dtype=np.int64))
    records = nlme.Records.of(design, y, missing_as_nan=True)
    mean = np.zeros(len(factor)) if mean is None else mean
    exact = exact_draws(
        trained, factor, model, population, records, DRAWS, seed, stream=f"{stream}/weighted", mean=mean
    )
    found = {WEIGHTED: _weighted(exact.draws, model, population, records, eta)}
    found[LAPLACE] = _laplace(model, population, records, eta, seed, f"{stream}/laplace")
    for name, network in ((NETWORK, trained), (BLIND, blind)):
        found[name] = _with_prior(network, factor, mean, population.omega, y, eta, seed, f"{stream}/{name}")
    reference = rng.normal(seed, f"{stream}/reference", 0, subjects, eta.shape[1:]) @ simulator.factor.T
    known = np.ones(subjects, dtype=bool)
    for posterior in found.values():
        known &= np.isfinite(posterior.eta).all(axis=(1, 2)) & np.isfinite(posterior.log_density)
    tables, counts = [], []
    for source, posterior in found.items():
        table = calibration_table(eta[known], posterior.eta[known], present[known], names, reference[known])
        tables.append(table.assign(source=source))
        count = rank_counts(ranks(eta[known], posterior.eta[known]))
        cells = [(source, name, b, count[j, b]) for j, name in enumerate(names) for b in range(BINS)]
        counts.append(pd.DataFrame(cells, columns=["source", "random_effect", "bin", "count"]))
    strata = strata_of(present)
    sharpness = _sharpness(found, known, strata, seed, resamples)
    status = _status(exact, strata)
    joint = sharpness.merge(status, on=["source", "missing"], how="left").assign(parameter=JOINT)
    table = pd.concat(tables, ignore_index=True).merge(
        joint, on=["source", "missing", "parameter"], how="left"
    )
    return table[["source", *table.columns.drop("source")]], pd.concat(counts, ignore_index=True)


def _weighted(draws, model, population, records, eta) -> Posteriors:
    """The exact posterior: log p(η | y) = log p(y, η) − log p(y)."""
    prior = 0.5 * (np.linalg.slogdet(population.omega)[1] + eta.shape[1] * np.log(2 * np.pi))
    log_joint = LogJoint(model, population, records)(eta[:, None])[:, 0]
    return Posteriors(draws.eta, log_joint - prior - draws.log_marginal)


def _laplace(model, population, records, eta, seed, stream) -> Posteriors:
    modes = nlme.empirical_bayes(model, population, records)
    values, vectors = np.linalg.eigh(np.nan_to_num(modes.precision))
    values = np.where(values[:, :1] > 0, values, np.nan)
    z = rng.normal(seed, stream, 0, len(eta), (DRAWS, eta.shape[1])) / np.sqrt(values)[:, None]
    draws = modes.eta[:, None] + np.einsum("sij,smj->smi", vectors, z)
    white = np.einsum("sij,si->sj", vectors, eta - modes.eta) * np.sqrt(values)
    density = -0.5 * np.sum(white**2 - np.log(values) + np.log(2 * np.pi), axis=1)
    return Posteriors(draws, density)


def _with_prior(trained, factor, mean, omega, y, eta, seed, stream) -> Posteriors:
    """Draws of a network under N(0, Ω) in place of the prior N(−mean, F F') of its training.

    log q(η | y) changes by log N(η; 0, Ω) − log N(η; −mean, F F') and a constant, which the draws estimate.
    """
    inverse = np.linalg.inv(np.linalg.cholesky(omega))
    log_det = np.linalg.slogdet(factor)[1] + np.linalg.slogdet(inverse)[1]

    def log_ratio(phi):
        white = (phi @ factor.T - mean) @ inverse.T
        return 0.5 * (np.sum(phi**2, axis=-1) - np.sum(white**2, axis=-1)) + log_det

    phi, _ = trained.sample(y, _PROPOSALS, seed=seed, stream=stream)
    weight = np.exp(log_ratio(phi))
    constant = weight.mean(axis=1)
    u = rng.uniform(seed, f"{stream}/resample", 0, len(y), (1 + DRAWS,))
    kept = np.take_along_axis(phi, exchangeable(weight, u)[..., None], axis=1)
    truth = np.linalg.solve(factor, (eta + mean).T).T
    log_q = trained.log_density(truth, y) + log_ratio(truth) - np.log(constant)
    return Posteriors(kept @ factor.T - mean, log_q - np.linalg.slogdet(factor)[1])


def _sharpness(found, known, strata, seed, resamples) -> pd.DataFrame:
    """-log p(η | y) at the truth, and how far it is above that of the weighted draws."""
    best, rows = found[WEIGHTED].log_density, []
    for missing, who in strata.items():
        some = who & known
        samples = Resamples(int(some.sum()), seed=seed, resamples=resamples)
        for source, posterior in found.items():
            excess = (best - posterior.log_density)[some]
            low, high = percentile_interval(samples.means(excess[:, None])[:, 0])
            value = -posterior.log_density[some].mean()
            rows.append((source, missing, value, excess.mean(), low, high))
    columns = ["source", "missing", "negative_log_density", "excess", "excess_low", "excess_high"]
    return pd.DataFrame(rows, columns=columns)


def _status(exact, strata) -> pd.DataFrame:
    """Effective sample size and shares of statuses of the weighted draws, in each stratum."""
    size = exact.draws.effective_sample_size / _PROPOSALS
    rows = [
        {"source": WEIGHTED, "missing": missing, "effective_sample_size": size[who].mean()}
        | {"unfamiliar": exact.unfamiliar[who].mean()}
        | {f"status_{source.name.lower()}": np.mean(exact.source[who] == source) for source in Source}
        for missing, who in strata.items()
    ]
    return pd.DataFrame(rows)
