"""Sizes, colours and fonts of all figures, and how they are written to disk.

Figures are made without pyplot, hence without global state. The colours are those of Okabe and Ito, which can
be distinguished with every common kind of colour vision. Things that differ by colour also differ by marker,
line style or position.
"""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import NamedTuple, ParamSpec

import matplotlib as mpl
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH_IN = 7.2  # a full text width in print

BLACK = "#1A1A1A"
GREY = "#7F7F7F"
LIGHT_GREY = "#D9D9D9"
BLUE = "#0072B2"
VERMILION = "#D55E00"
GREEN = "#009E73"
ORANGE = "#E69F00"
SKY = "#56B4E9"
PURPLE = "#CC79A7"

# A thing has the same colour in every figure.
OBSERVED = BLACK
FROM_IMAGE = VERMILION
FROM_RECORD = BLUE
LIMIT = GREY
_PREDICTORS = (VERMILION, GREEN, PURPLE, ORANGE, SKY)
_MARKERS = ("o", "s", "D", "^", "v")
_LINES = ("-", "--", "-.", ":", (0, (1, 3)))


_RC = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.labelcolor": BLACK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.prop_cycle": cycler(color=[BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY]),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "savefig.dpi": 200,
    "svg.fonttype": "path",
    "svg.hashsalt": "covary",
    "text.color": BLACK,
    "xtick.color": GREY,
    "xtick.labelcolor": BLACK,
    "xtick.labelsize": 8,
    "ytick.color": GREY,
    "ytick.labelcolor": BLACK,
    "ytick.labelsize": 8,
}

_Arguments = ParamSpec("_Arguments")


class Look(NamedTuple):
    """How figures tell one predictor from another."""

    colour: str
    marker: str
    line: str | tuple


def look(k: int) -> Look:
    """The look of the k-th predictor. Colours come again after five, then with other markers and lines."""
    n = len(_PREDICTORS)
    shifted = (k + k // n) % n
    return Look(_PREDICTORS[k % n], _MARKERS[shifted], _LINES[shifted])


def styled(draw: Callable[_Arguments, Figure]) -> Callable[_Arguments, Figure]:
    """Draw a figure in the project's style, whatever the caller's matplotlib settings are."""

    @wraps(draw)
    def in_style(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Figure:
        with mpl.rc_context(dict(mpl.rcParamsDefault) | _RC):
            figure = draw(*args, **kwargs)
            FigureCanvasAgg(figure)
            return figure

    return in_style


def save(figure: Figure, path: Path) -> None:
    """Write a figure as SVG or PNG, by the suffix of the path. The same figure gives the same bytes.

    Raises ValueError for another suffix.
    """
    metadata = {".svg": {"Date": None, "Creator": None}, ".png": {"Software": None}}
    if path.suffix not in metadata:
        raise ValueError(f"{path}: figures are written as .svg or .png")
    with mpl.rc_context(_RC):
        figure.savefig(path, metadata=metadata[path.suffix])
