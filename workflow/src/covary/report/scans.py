"""Scans as the eye sees them: whether layers run through, and whether known factors are as they should be."""

import pandas as pd

from covary.config.experiment import Config
from covary.report.answers import Answer
from covary.wording import joined

FIGURES = ()
TABLES = CAPTIONED = ("factors",)
_CONTINUOUS = 0.9  # of the continuity of test images
_ERROR = 0.05
_ASTRAY = 0.2  # distance between distributions that a reader should hear of

_UNITS = {"_um_per_mm2": "µm/mm²", "_um": "µm", "_mm": "mm", "_deg": "°"}


def factor_label(name: str) -> str:
    """The name of a known factor in the report, with its unit: `tilt_deg` is "tilt (°)"."""
    for ending, unit in _UNITS.items():
        if name.endswith(ending):
            return f"{name.removesuffix(ending).replace('_', ' ')} ({unit})"
    return name.replace("_", " ")


def has_factors(config: Config) -> bool:
    """Whether the images have known factors."""
    return config.images.source == "phantom"


def scans_in_words(quality: pd.DataFrame, factors: pd.DataFrame) -> Answer:
    """What `layer_continuity` and `fine_detail` say of generated scans, and which known factors differ.

    `factors` is the table of `quality.factor_table`. A factor differs if chance alone would make any of all
    factors differ so much in less than 5 % of runs (Bonferroni), and by a distance worth to be named.
    """
    continuity = quality[quality["measure"] == "layer_continuity"].set_index("of")["value"]
    detail = quality[quality["measure"] == "fine_detail"].set_index("of")["value"]
    through = continuity["generated"] >= _CONTINUOUS * continuity["test images"]
    verdict = "run through" if through else "do not run through as they should"
    text = (
        f"Layers {verdict}: edges in columns 4 pixels apart correlate by {continuity['generated']:.2f} (test "
        f"images: {continuity['test images']:.2f}). Fine detail along depth has "
        f"{100 * detail['generated']:.0f} % of the power of that in test images (training images: "
        f"{100 * detail['training images']:.0f} %). "
    )
    generated = factors[factors["of"] == "generated"]
    differs = generated[(generated["p"] < _ERROR / len(generated)) & (generated["distance"] > _ASTRAY)]
    n = f"{len(generated)} known factors and classes, as a trained network reads them,"
    if differs.empty:
        text += f"Of {n} none is distributed visibly otherwise than in test images."
    else:
        verb = "is" if len(differs) == 1 else "are"
        names = joined([factor_label(name).partition(" (")[0] for name in differs.sort_values("p")["factor"]])
        text += f"Of {n} {len(differs)} {verb} distributed otherwise than in test images: {names}."
    return Answer(text, poor=bool(not through or len(differs)))
