"""Diagnostics of a fitted population model: residual tables, visual predictive checks, and their figures."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from covary import rng
from covary.nlme import joint
from covary.nlme.blocks import lane_program, map_lanes
from covary.nlme.design import Records
from covary.nlme.empirical_bayes import empirical_bayes
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters
from covary.nlme.predict import check_model, lanes_of, predict
from covary.nlme.simulate import simulate

_BLUE, _RED, _GREY = "#2b5c8a", "#b3402a", "#8a8a8a"
_PERCENTILES = (5, 50, 95)


def residual_table(
    model: OdeModel | ClosedFormModel, parameters: Parameters, records: Records
) -> pd.DataFrame:
    """One row an observation: ID, TIME, DV, PRED, IPRED, IWRES, CWRES.

    PRED is the prediction at η = 0 and IPRED at the empirical Bayes estimate; IWRES is (DV − IPRED)/√R on
    the scale of the residual error; CWRES is the residual from the linearisation at the estimate,
    decorrelated with the symmetric root of J Ω J' + R (Hooker, Staatz & Karlsson 2007, doi
    10.1007/s11095-007-9361-x).
    """
    check_model(model, parameters, records.design)
    parameters = parameters.concrete()
    eta = np.ascontiguousarray(empirical_bayes(model, parameters, records).eta.T)
    lanes = lanes_of(model, records)
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


def goodness_of_fit_figure(table: pd.DataFrame) -> Figure:
    """DV against PRED and IPRED, and CWRES against time and PRED, from `residual_table`."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots(2, 2)
    for ax, name in zip(axes[0], ("PRED", "IPRED"), strict=True):
        low, high = table[[name, "DV"]].min().min(), table[[name, "DV"]].max().max()
        ax.plot([low, high], [low, high], color=_GREY, lw=1)
        ax.plot(table[name], table["DV"], ".", color=_BLUE, ms=4, alpha=0.6)
        ax.set(xlabel=name, ylabel="DV")
    for ax, name in zip(axes[1], ("TIME", "PRED"), strict=True):
        for level, style in ((0, "-"), (-1.96, ":"), (1.96, ":")):
            ax.axhline(level, color=_GREY, lw=1, ls=style)
        ax.plot(table[name], table["CWRES"], ".", color=_BLUE, ms=4, alpha=0.6)
        ax.set(xlabel="Time / h" if name == "TIME" else name, ylabel="CWRES")
    return figure


def individual_fits_figure(table: pd.DataFrame, *, subjects: int = 12) -> Figure:
    """Observations, PRED and IPRED of the first subjects, from `residual_table`."""
    ids = list(dict.fromkeys(table["ID"]))[:subjects]
    columns = min(4, len(ids))
    rows = -(-len(ids) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.1 * rows), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
    for ax in axes[len(ids) :]:
        ax.set_visible(False)
    for ax, name in zip(axes, ids, strict=False):
        own = table[table["ID"] == name]
        ax.plot(own["TIME"], own["PRED"], color=_GREY, lw=1, ls="--", label="population")
        ax.plot(own["TIME"], own["IPRED"], color=_BLUE, lw=1.2, label="individual")
        ax.plot(own["TIME"], own["DV"], ".", color=_RED, ms=4, label="observed")
        ax.set_title(name, fontsize=8)
    axes[0].legend(fontsize=6, frameon=False)
    figure.supxlabel("Time / h")
    figure.supylabel("DV")
    return figure


def predictive_check_figure(check: pd.DataFrame) -> Figure:
    """Observed percentiles (lines) over the 95 % band of the simulated ones, from `predictive_check`."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    for percentile, rows in check.groupby("percentile"):
        colour = _RED if percentile == 50 else _BLUE
        ax.fill_between(rows["time_h"], rows["low"], rows["high"], color=colour, alpha=0.2, lw=0)
        ax.plot(rows["time_h"], rows["observed"], color=colour, lw=1.2, marker=".", label=f"{percentile} %")
    ax.legend(title="Percentile", frameon=False)
    ax.set(xlabel="Time / h", ylabel="DV")
    return figure


def shrinkage_figure(eta: np.ndarray, parameters: Parameters) -> Figure:
    """Histogram of each random effect's estimates over the density of its population, with the shrinkage."""
    parameters = parameters.concrete()
    figure = Figure(figsize=(2.8 * eta.shape[1], 2.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, eta.shape[1]))
    for ax, name, values, variance in zip(
        axes, parameters.random_effects, eta.T, np.diag(parameters.omega), strict=True
    ):
        sd = np.sqrt(variance)
        grid = np.linspace(-3.5 * sd, 3.5 * sd, 200)
        ax.hist(values, bins=30, density=True, color=_BLUE, alpha=0.5)
        ax.plot(grid, np.exp(-0.5 * (grid / sd) ** 2) / (sd * np.sqrt(2 * np.pi)), color=_GREY, lw=1)
        ax.set(xlabel=name, yticks=[], title=f"shrinkage {100 * (1 - np.std(values, ddof=1) / sd):.1f} %")
    return figure


@lane_program(n_shared=2)
def _residuals(model, parameters, eta, lanes):
    """PRED, IPRED, IWRES, the residual from the linearisation, and its covariance (time, time, lane)."""
    residual = parameters.residual
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
