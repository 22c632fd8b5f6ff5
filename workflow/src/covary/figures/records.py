"""Longitudinal records, observed and as predicted from the image."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covary.dataset.association import explainable_fraction
from covary.figures.images import show
from covary.figures.style import FROM_IMAGE, GREY, LIMIT, OBSERVED, WIDTH_IN, look, styled
from covary.wording import noise_label, percent, predictor_label

_ROW_IN = 1.2


@styled
def association(
    images: UInt8[np.ndarray, "subject c h w"],
    times_h: Float[np.ndarray, " time"],
    noise_variances: Sequence[float],
    observation: Float[np.ndarray, "noise subject time"],
    prediction: Float[np.ndarray, "subject time"],
    units: tuple[str, str],
) -> Figure:
    """Images and records of some subjects. Each panel also has f(eta), the record that the image encodes.

    `units` are those of time and outcome.
    """
    n_subjects = len(images)
    figure = Figure(figsize=(WIDTH_IN, _ROW_IN * n_subjects + 0.85), layout="constrained")
    grid = figure.subplots(n_subjects, 1 + len(noise_variances), squeeze=False)
    for axis, image in zip(grid[:, 0], images, strict=True):
        show(axis, image)
    grid[0, 0].set_title("image")
    panels = grid[:, 1:]
    _label(panels, units, noise_variances, lambda v: f"by design ≤ {percent(explainable_fraction(v))}")
    for column, records in zip(panels.T, observation, strict=True):
        for axis, record, curve in zip(column, records, prediction, strict=True):
            observed = _observed(axis, times_h, record)
            (encoded,) = axis.plot(times_h, curve, color=FROM_IMAGE, zorder=2)
    handles = {"observed record": observed, r"record that the image stands for, $f(\eta)$": encoded}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)
    return figure


@styled
def trajectories(
    times_h: Float[np.ndarray, " time"],
    noise_variances: Sequence[float],
    observation: Float[np.ndarray, "noise subject time"],
    prediction: Mapping[str, Float[np.ndarray, "noise subject time"]],
    average: Float[np.ndarray, " time"],
    units: tuple[str, str],
) -> Figure:
    """Observed records and those predicted from the image, for some subjects (rows) at every noise level.

    `prediction` has f(eta_pred) of each predictor by name; `average` is the record of eta = 0.
    `units` are those of time and outcome.
    """
    n_subjects = observation.shape[1]
    figure = Figure(figsize=(WIDTH_IN, _ROW_IN * n_subjects + 0.85), layout="constrained")
    panels = figure.subplots(n_subjects, len(noise_variances), squeeze=False)
    _label(panels, units, noise_variances, lambda v: f"max. {percent(explainable_fraction(v))}")
    handles = {}
    for i, column in enumerate(panels.T):
        for j, axis in enumerate(column):
            handles["observed"] = _observed(axis, times_h, observation[i, j])
            for k, (name, curves) in enumerate(prediction.items()):
                label = (
                    "predicted from the image"
                    if len(prediction) == 1
                    else f"predicted, {predictor_label(name)}"
                )
                (handles[label],) = axis.plot(
                    times_h, curves[i, j], color=look(k).colour, linestyle=look(k).line, zorder=3
                )
            (handles["average subject"],) = axis.plot(
                times_h, average, color=LIMIT, linewidth=1, linestyle=(0, (3, 2)), zorder=1
            )
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(4, len(handles)))
    return figure


def spread_subjects(prediction: Float[np.ndarray, "subject time"], n: int) -> Int[np.ndarray, " n"]:
    """Rows of n subjects to show: evenly spread over the ranks of their peak outcome, extremes left out.

    Raises ValueError if there are fewer than n subjects.
    """
    if n > len(prediction):
        raise ValueError(f"{n} subjects to show were asked for, there are {len(prediction)}")
    order = np.argsort(prediction.max(axis=1), kind="stable")
    return order[((np.arange(n) + 0.5) / n * len(order)).astype(int)]


def _observed(axis: Axes, times_h: np.ndarray, record: np.ndarray):
    (points,) = axis.plot(times_h, record, ".", color=OBSERVED, markersize=3.5, markeredgewidth=0, zorder=2.5)
    return points


def _label(panels: np.ndarray, units: tuple[str, str], noise_variances: Sequence[float], subtitle) -> None:
    """Labels at the outer panels only, and a title with the noise level over every column."""
    for axis in panels.flat:
        axis.sharex(panels[0, 0])
        axis.tick_params(labelleft=False, labelbottom=False, length=2)
        axis.margins(x=0.05, y=0.08)
    for axis, noise_variance in zip(panels[0], noise_variances, strict=True):
        axis.set_title(noise_label(noise_variance), pad=13)
        axis.annotate(
            subtitle(noise_variance), (0.5, 1), (0, 3), xycoords="axes fraction", textcoords="offset points",
            ha="center", va="bottom", fontsize=7.5, color=GREY,
        )  # fmt: skip
    for axis in panels[-1]:
        axis.tick_params(labelbottom=True)
        axis.set_xlabel(f"time ({units[0]})")
    for row in panels:  # a subject's own scale: what matters is how its records change along the row
        for axis in row[1:]:
            axis.sharey(row[0])
        row[0].tick_params(labelleft=True)
        row[0].set_ylabel(f"outcome\n({units[1]})")
