"""Diagnostics of a fitted population model: residual tables and visual predictive checks."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pandas as pd

from covary import rng
from covary.nlme import joint
from covary.nlme.blocks import lane_program, map_lanes
from covary.nlme.check import check_model
from covary.nlme.design import Records
from covary.nlme.empirical_bayes import empirical_bayes
from covary.nlme.lanes import observed_lanes_of, predict
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters
from covary.nlme.simulate import simulate

_PERCENTILES = (5, 50, 95)


def residual_table(
    model: OdeModel | ClosedFormModel, parameters: Parameters, records: Records
) -> pd.DataFrame:
    """One row per observation: ID, TIME, DV, PRED, IPRED, IWRES, CWRES.

    PRED is the prediction at η = 0 and IPRED at the empirical Bayes estimate; IWRES is (DV − IPRED)/√R on
    the scale of the residual error; CWRES is the residual from the linearisation at the estimate,
    decorrelated with the symmetric root of J Ω J' + R (Hooker, Staatz & Karlsson 2007, doi
    10.1007/s11095-007-9361-x).
    """
    check_model(model, parameters, records.design)
    parameters = parameters.concrete()
    eta = np.ascontiguousarray(empirical_bayes(model, parameters, records).eta.T)
    lanes = observed_lanes_of(model, records)
    pred, ipred, iwres, from_mean, c = map_lanes(
        partial(_residuals, model, parameters),
        eta.shape[1],
        lambda index: (eta[:, index], lanes.select(index)),
    )
    values, vectors = np.linalg.eigh(np.moveaxis(c, -1, 0))
    decorrelated = np.einsum("lst,sl->lt", vectors, from_mean) / np.sqrt(values)
    cwres = np.einsum("lts,ls->tl", vectors, decorrelated)
    present = records.present
    columns = [values.T[present] for values in (pred, ipred, iwres, cwres)]
    design = records.design
    names = np.array([design.name(i) for i in range(design.n_subjects)])
    time = np.broadcast_to(design.time_h, present.shape)
    return pd.DataFrame(
        {
            "ID": np.repeat(names, present.sum(axis=1)),
            "TIME": time[present],
            "DV": records.observation[present],
        }
        | dict(zip(("PRED", "IPRED", "IWRES", "CWRES"), columns, strict=True))
    )


def predictive_check(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    records: Records,
    seed: int,
    *,
    replicates: int = 200,
    bins: int = 10,
) -> pd.DataFrame:
    """A visual predictive check: percentiles of the observations and of simulated replicates by time bin.

    One row a bin and percentile: `time_h` (mean of the bin), `percentile`, `observed`, and the 2.5, 50 and
    97.5 % points of the simulated percentile (`low`, `median`, `high`). Bins hold about equally many
    observations.
    """
    design, present = records.design, records.present
    time = np.broadcast_to(design.time_h, present.shape)[present]
    edges = np.unique(np.quantile(time, np.linspace(0, 1, bins + 1)))
    at = np.clip(np.searchsorted(edges, time, side="right") - 1, 0, max(len(edges) - 2, 0))
    factor = np.linalg.cholesky(parameters.concrete().omega)
    simulated = np.empty((replicates, time.size))
    for r in range(replicates):
        white = rng.normal(
            rng.stream_key(seed, "predictive_check", r), "eta", 0, design.n_subjects, (len(factor),)
        )
        replicate = simulate(
            model, parameters, white @ factor.T, design, rng.stream_key(seed, "predictive_check", r)
        )
        simulated[r] = replicate.observation[present]
    rows = []
    for b in np.unique(at):
        inside = at == b
        by_replicate = np.nanpercentile(simulated[:, inside], _PERCENTILES, axis=1)
        observed = np.percentile(records.observation[present][inside], _PERCENTILES)
        for percentile, value, values in zip(_PERCENTILES, observed, by_replicate, strict=True):
            rows.append((time[inside].mean(), percentile, value, *np.percentile(values, (2.5, 50, 97.5))))
    return pd.DataFrame(rows, columns=["time_h", "percentile", "observed", "low", "median", "high"])


@lane_program(n_shared=2)
def _residuals(model, parameters, eta, lanes):
    """PRED, IPRED, IWRES, the residual from the linearisation, and its covariance (time, time, lane)."""
    residual = parameters.residual.of(lanes.output)
    pred = predict(model, parameters.theta, jnp.zeros_like(eta), lanes)[0]

    def transformed(e):
        return residual.transform(
            jnp.where(lanes.present, predict(model, parameters.theta, e, lanes)[0], 1.0)
        )

    g, j = joint.sensitivities(transformed, eta)
    ipred = residual.inverse(g)
    r = jnp.where(lanes.present, residual.variance(ipred), 1.0)
    j = jnp.where(lanes.present, j, 0.0)
    deviation = jnp.where(lanes.present, residual.transform(lanes.y) - g, 0.0)
    c = jnp.einsum("itl,ik,ksl->tsl", j, parameters.omega, j) + jnp.eye(len(r))[:, :, None] * r
    from_mean = deviation + jnp.einsum("itl,il->tl", j, eta)
    return pred, ipred, deviation / jnp.sqrt(r), from_mean, c
