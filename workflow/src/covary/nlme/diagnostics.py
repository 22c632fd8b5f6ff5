"""Diagnostics of a population model: residuals, shrinkage, individual curves, predictive checks, NPDE."""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64
from scipy.linalg import solve_triangular
from scipy.special import ndtri

from covary import rng
from covary.errors import UserError
from covary.nlme import joint
from covary.nlme.blocks import lane_program, map_lanes
from covary.nlme.check import check_records
from covary.nlme.design import Records
from covary.nlme.empirical_bayes import empirical_bayes
from covary.nlme.lanes import observed_lanes_of, output_index, predict
from covary.nlme.marginal import check_method
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters
from covary.nlme.simulate import predictions, simulate

_PERCENTILES = (5, 50, 95)
_WITHOUT_INTERACTION = ("foce", "laplace")
_SUBJECTS_AT_ONCE = 8192


def residual_table(
    model: OdeModel | ClosedFormModel, parameters: Parameters, records: Records, *, method: str
) -> pd.DataFrame:
    """One row per observation: ID, TIME, DV, PRED, IPRED, IWRES, CWRES, OUTPUT if there are several, and CENS
    if values are censored.

    PRED is the prediction at η = 0 and IPRED at the empirical Bayes estimate; IWRES is (DV − IPRED)/√R on
    the scale of the residual error; CWRES is the residual from the linearisation at the estimate,
    decorrelated with the symmetric root of J Ω J' + R (Hooker, Staatz & Karlsson 2007, doi
    10.1007/s11095-007-9361-x).

    Estimates and R are those of the fit's own `method`: FOCE and Laplace without interaction take R at η = 0.
    FO linearises at η = 0, so that CWRES is NONMEM's WRES. A censored value (CENS 1: below DV; −1: above) has
    no residuals, IWRES and CWRES are NaN there, and those of the others do not depend on it but through the
    estimate.
    Raises ValueError if the method is unknown or the arguments do not fit together.
    """
    check_method(method)
    check_records(model, parameters, records)
    parameters = parameters.concrete()
    frozen = method in _WITHOUT_INTERACTION
    modes = empirical_bayes(model, parameters, records, interaction=not frozen)
    eta = np.ascontiguousarray(modes.eta.T)
    censored = _censored(records)
    lanes = observed_lanes_of(
        model, Records(records.design, records.observation, records.present & ~censored)
    )
    pred, ipred, iwres, from_mean, c = map_lanes(
        partial(_residuals, method == "fo", frozen, model, parameters),
        eta.shape[1],
        lambda index: (eta[:, index], lanes.select(index)),
    )
    values, vectors = np.linalg.eigh(np.moveaxis(c, -1, 0))
    decorrelated = np.einsum("lst,sl->lt", vectors, from_mean) / np.sqrt(values)
    cwres = np.einsum("lts,ls->tl", vectors, decorrelated)
    table = {"PRED": pred.T, "IPRED": ipred.T, "IWRES": iwres.T, "CWRES": cwres.T}
    if censored.any():
        table["PRED"], table["IPRED"] = (
            predictions(model, parameters, at, records.design) for at in (np.zeros_like(modes.eta), modes.eta)
        )
        for name in ("IWRES", "CWRES"):
            table[name] = np.where(censored, np.nan, table[name])
    columns = {name: values[records.present] for name, values in table.items()}
    return _observations(model, records).assign(**columns)


def epsilon_shrinkage(table: pd.DataFrame) -> dict[str, float]:
    """1 − sd(IWRES) of a `residual_table`, by output (`""` where there is one)."""
    by_output = table["OUTPUT"] if "OUTPUT" in table else pd.Series("", index=table.index)
    return {str(name): 1 - float(own.std(ddof=1)) for name, own in table["IWRES"].groupby(by_output)}


def individual_curves(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    records: Records,
    eta: Float64[np.ndarray, "subject k"],
    *,
    points: int = 100,
) -> pd.DataFrame:
    """PRED and IPRED on a fine grid of times, for figures of individual fits: ID, TIME, PRED, IPRED.

    About `points` times are spread evenly over each subject's record; those of the observations are among
    them. Of a model with several outputs a point has the output of the observation after it.
    Raises ValueError if the arguments do not fit together.
    """
    if points < 2:
        raise ValueError(f"points must be ≥ 2, got {points}")
    design = records.design.refined(points)
    pred = predictions(model, parameters, np.zeros_like(eta), design)
    ipred = predictions(model, parameters, eta, design)
    grid = Records(design, pred, np.broadcast_to(design.observed, pred.shape))
    table = _observations(model, grid).drop(columns="DV")
    return table.assign(PRED=pred[grid.present], IPRED=ipred[grid.present])


class PredictiveCheck(NamedTuple):
    """A visual predictive check.

    `bands`: one row per bin and percentile: `time_h` (mean of the bin), `percentile`, `observed`, and the
    2.5, 50 and 97.5 % points of the simulated percentile (`low`, `median`, `high`). `points`: the
    observations, ID, `time_h`, `value`. Both have a `stratum` if the check is stratified.
    """

    bands: pd.DataFrame
    points: pd.DataFrame


def predictive_check(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    records: Records,
    seed: int,
    *,
    replicates: int = 200,
    bins: int = 10,
    prediction_corrected: bool = False,
    stratify: str | None = None,
) -> PredictiveCheck:
    """Percentiles of the observations and of simulated replicates by time bin.

    Bins hold about equally many observations. With `prediction_corrected` observed and simulated values are
    multiplied by the bin's median PRED over their own PRED (Bergstrand et al. 2011, doi
    10.1208/s12248-011-9255-z); where PRED is 0 they stay as they are. `stratify` names a covariate, or
    `OUTPUT` for a model with several outputs.
    Raises ValueError if the arguments do not fit together or values are censored.
    """
    _check_uncensored("predictive_check", records)
    table = _observations(model, records)
    time, value = table["TIME"].to_numpy(), table["DV"].to_numpy()
    simulated = _replicates(model, parameters, records, seed, "predictive_check", replicates)
    stratum = _stratum(records, table, stratify)
    if prediction_corrected:
        eta = np.zeros((records.design.n_subjects, len(model.random_effects)))
        pred = predictions(model, parameters, eta, records.design)[records.present]
    rows, corrected = [], value.copy()
    for name in dict.fromkeys(stratum):
        of_stratum = stratum == name
        edges = np.unique(np.quantile(time[of_stratum], np.linspace(0, 1, bins + 1)))
        at = np.clip(np.searchsorted(edges, time, side="right") - 1, 0, max(len(edges) - 2, 0))
        for b in np.unique(at[of_stratum]):
            inside = of_stratum & (at == b)
            factor: float | np.ndarray = 1.0
            if prediction_corrected:
                own = pred[inside]
                factor = np.where(own == 0, 1.0, np.median(own) / np.where(own == 0, 1.0, own))
            corrected[inside] = value[inside] * factor
            by_replicate = np.nanpercentile(simulated[:, inside] * factor, _PERCENTILES, axis=1)
            observed = np.percentile(corrected[inside], _PERCENTILES)
            for percentile, seen, values in zip(_PERCENTILES, observed, by_replicate, strict=True):
                interval = np.percentile(values, (2.5, 50, 97.5))
                rows.append((name, time[inside].mean(), percentile, seen, *interval))
    columns = ["stratum", "time_h", "percentile", "observed", "low", "median", "high"]
    bands = pd.DataFrame(rows, columns=columns)
    points = pd.DataFrame({"ID": table["ID"], "stratum": stratum, "time_h": time, "value": corrected})
    if stratify is None:
        return PredictiveCheck(bands.drop(columns="stratum"), points.drop(columns="stratum"))
    return PredictiveCheck(bands, points)


def npde(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    records: Records,
    seed: int,
    *,
    replicates: int = 1000,
) -> pd.DataFrame:
    """Normalised prediction distribution errors: ID, TIME, DV, PRED_MEAN, NPDE, standard normal under the
    model.

    Observed and simulated records are decorrelated with the Cholesky factor of the simulated covariance; NPDE
    is the normal quantile of the rank of the observed among the simulated values (Brendel et al. 2006, doi
    10.1007/s11095-006-9067-5; Comets et al. 2008, doi 10.1016/j.cmpb.2007.12.002).
    Raises UserError if there are not more replicates than observations of any subject, or values are
    censored.
    """
    most = int(records.present.sum(axis=1).max())
    if replicates <= most:
        raise UserError(f"replicates must exceed the {most} observations of a subject, got {replicates}")
    _check_uncensored("npde", records)
    simulated = _replicates(model, parameters, records, seed, "npde", replicates)
    table = _observations(model, records)
    score, mean = np.empty(len(table)), np.empty(len(table))
    last = np.cumsum(records.present.sum(axis=1))
    for rows in map(slice, (0, *last[:-1]), last):
        draws = simulated[:, rows]
        mean[rows] = draws.mean(axis=0)
        factor = np.linalg.cholesky(np.atleast_2d(np.cov(draws, rowvar=False)))
        both = np.concatenate([table["DV"].to_numpy()[None, rows], draws]) - mean[rows]
        white = solve_triangular(factor, both.T, lower=True)
        rank = (white[:, 1:] < white[:, :1]).mean(axis=1)
        score[rows] = ndtri(np.clip(rank, 0.5 / replicates, 1 - 0.5 / replicates))
    return table.assign(PRED_MEAN=mean, NPDE=score)


def _censored(records: Records) -> Bool[np.ndarray, "subject time"]:
    """Which observations are limits, not values."""
    if records.bounds is None:
        return np.zeros_like(records.present)
    return records.present & ~np.isnan(records.bounds.low)


def _check_uncensored(name: str, records: Records) -> None:
    if _censored(records).any():
        raise UserError(f"{name} cannot use censored observations; read the table with censoring M1")


def _observations(model, records: Records) -> pd.DataFrame:
    """ID, TIME and DV of each observation, its OUTPUT if there are several, and CENS if some are censored."""
    design, present = records.design, records.present
    names = np.array([design.name(i) for i in range(design.n_subjects)])
    time = np.broadcast_to(design.time_h, present.shape)
    table = pd.DataFrame(
        {
            "ID": np.repeat(names, present.sum(axis=1)),
            "TIME": time[present],
            "DV": records.observation[present],
        }
    )
    censored = _censored(records)
    if records.bounds is not None and censored.any():
        above = np.isposinf(records.bounds.high)
        table["CENS"] = np.where(censored, np.where(above, -1, 1), 0)[present]
    output = output_index(model, design)
    if output is not None:
        table["OUTPUT"] = np.array(list(model.outputs.values()))[np.broadcast_to(output, present.shape)][
            present
        ]
    return table


def _replicates(
    model, parameters: Parameters, records: Records, seed: int, stream: str, replicates: int
) -> Float64[np.ndarray, "replicate observation"]:
    """Simulated observations of the whole study, again and again with new subjects."""
    design, present, n = records.design, records.present, records.design.n_subjects
    factor = np.linalg.cholesky(parameters.concrete().omega)
    at_once = max(1, _SUBJECTS_AT_ONCE // n)
    simulated = []
    for first in range(0, replicates, at_once):
        m = min(at_once, replicates - first)
        subjects = range(first * n, (first + m) * n)
        white = rng.normal(seed, f"{stream}/eta", subjects.start, subjects.stop, (len(factor),))
        many = design.rows(np.tile(np.arange(n), m))
        found = simulate(
            model, parameters, white @ factor.T, many, seed, stream=f"{stream}/epsilon", subjects=subjects
        )
        simulated.append(found.observation.reshape(m, n, -1)[:, present])
    return np.concatenate(simulated)


def _stratum(records: Records, table: pd.DataFrame, by: str | None) -> np.ndarray:
    """The stratum of each observation."""
    if by is None:
        return np.full(len(table), "")
    if by in table:
        return table[by].to_numpy()
    covariates = records.design.covariates
    if by not in covariates:
        known = ", ".join([*covariates, *(c for c in table if c == "OUTPUT")]) or "none"
        raise UserError(f"stratify must be a covariate that is constant within subjects: {known}; got {by!r}")
    value = np.broadcast_to(covariates[by], len(records.present))
    return np.repeat(value, records.present.sum(axis=1))


@lane_program(n_shared=4, static_argnums=(0, 1))
def _residuals(at_zero, frozen, model, parameters, eta, lanes):
    """PRED, IPRED, IWRES, the residual from the linearisation, and its covariance (time, time, lane)."""
    residual = parameters.residual.of(lanes.output)

    def transformed(e):
        return residual.transform(
            jnp.where(lanes.present, predict(model, parameters.theta, e, lanes)[0], 1.0)
        )

    pred = residual.inverse(transformed(jnp.zeros_like(eta)))
    ipred = residual.inverse(transformed(eta))
    centre = jnp.zeros_like(eta) if at_zero else eta
    g, j = joint.sensitivities(transformed, centre)

    def variance(f):
        return jnp.where(lanes.present, residual.variance(pred if frozen else f), 1.0)

    def deviation(f):
        return jnp.where(lanes.present, residual.transform(lanes.y) - residual.transform(f), 0.0)

    j = jnp.where(lanes.present, j, 0.0)
    r = variance(residual.inverse(g))
    c = jnp.einsum("itl,ik,ksl->tsl", j, parameters.omega, j) + jnp.eye(len(r))[:, :, None] * r
    from_mean = deviation(residual.inverse(g)) + jnp.einsum("itl,il->tl", j, centre)
    return pred, ipred, deviation(ipred) / jnp.sqrt(variance(ipred)), from_mean, c
