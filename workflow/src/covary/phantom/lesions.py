"""Lesions of the three diseased classes, as changes of layer thickness and as small bodies within layers."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from covary.phantom.anatomy import WIDTH_MM
from covary.phantom.fields import smooth_curve

# Values of the lesion label image; fluid and deposits between layers are labelled from the layer they fill.
NONE, SUB_RPE, SUBRETINAL_FLUID, SUBRETINAL_MATERIAL, CYST, FOCUS = range(6)


@dataclass(frozen=True)
class Body:
    """An ellipse in a layer: a vessel, a cyst or a hyper-reflective focus."""

    layer: str
    x_mm: float  # from the fovea
    level: float  # 0 at the top of the layer, 1 at its bottom
    half_width_um: float
    half_height_um: float
    reflectivity: float
    label: int


@dataclass
class Lesions:
    """Changes of a healthy retina by disease, at the columns of a frame."""

    sub_rpe_um: Float[np.ndarray, " width"]  # drusen or pigment epithelial detachment
    fluid_um: Float[np.ndarray, " width"]  # subretinal
    material_um: Float[np.ndarray, " width"]  # subretinal, hyper-reflective
    thickening_um: Float[np.ndarray, " width"]  # spread over the inner layers
    sub_rpe_reflectivity: float = 0.5
    bodies: list[Body] = field(default_factory=list)


def draw_lesions(
    kind: str, severity: float, x_mm: Float[np.ndarray, " width"], rng: np.random.Generator
) -> Lesions:
    """Draw the lesions of a class (`NORMAL` has none) at distances `x_mm` from the fovea.

    Raises KeyError if the class is unknown.
    """
    lesions = Lesions(*(np.zeros_like(x_mm) for _ in range(4)))
    _DRAW[kind](lesions, severity, x_mm, rng)
    return lesions


def _normal(lesions: Lesions, severity: float, x_mm: np.ndarray, rng: np.random.Generator) -> None:
    """Leave the retina as it is."""


def _drusen(lesions: Lesions, severity: float, x_mm: np.ndarray, rng: np.random.Generator) -> None:
    """Add deposits 20–120 µm high with bases of about 100–350 µm. Neighbouring deposits merge."""
    count = 3 + rng.poisson(10 * severity)
    centre = rng.normal(0, 1.0, (count, 1))
    height_um = 18 + 100 * severity * rng.beta(1.3, 3, (count, 1))
    spread_mm = (45 + 0.7 * height_um) * rng.uniform(0.8, 1.4, (count, 1)) / 1000
    bumps = height_um * np.exp(-(np.abs((x_mm - centre) / spread_mm) ** 3) / 2)
    lesions.sub_rpe_um += (bumps**3).sum(axis=0) ** (1 / 3)
    lesions.sub_rpe_reflectivity = rng.uniform(0.55, 0.68)


def _cnv(lesions: Lesions, severity: float, x_mm: np.ndarray, rng: np.random.Generator) -> None:
    """Detach the pigment epithelium, put material and fluid on it, and swell the retina above."""
    centre = rng.normal(0, 0.5)
    for _ in range(1 + rng.integers(2)):
        half_mm = rng.uniform(0.35, 0.6) + 0.6 * severity * rng.random()
        height_um = 40 + 260 * severity * rng.beta(1.5, 2.5)
        dome = height_um * _dome(x_mm, centre + rng.normal(0, 0.5), half_mm, rng.uniform(0.8, 1.6))
        lesions.sub_rpe_um = np.maximum(lesions.sub_rpe_um, dome * _lumpy(x_mm, rng, 0.18))
    lesions.sub_rpe_reflectivity = rng.uniform(0.35, 0.66)
    lesions.material_um += (
        (30 + 110 * severity * rng.random())
        * _dome(x_mm, centre + rng.normal(0, 0.3), rng.uniform(0.3, 0.5 + 0.6 * severity), 1.2)
        * _lumpy(x_mm, rng, 0.35)
    )
    if rng.random() < 0.65:
        lens_um = rng.uniform(60, 120 + 160 * severity)
        lens = lens_um * _dome(x_mm, centre + rng.normal(0, 0.3), rng.uniform(0.6, 1.5), 1.3)
        # Fluid has a flat surface, so there is less of it over a detachment and more beside it.
        lesions.fluid_um += np.maximum(lens - 0.7 * (lesions.sub_rpe_um + lesions.material_um), 0)
    lesions.thickening_um += rng.uniform(0, 130) * severity * np.exp(-(((x_mm - centre) / 0.9) ** 2) / 2)
    if rng.random() < 0.4:
        _cysts(lesions, 1 + rng.poisson(3 * severity), centre, 0.5, rng)
    _foci(lesions, rng.poisson(4), centre, 0.8, rng)


def _dme(lesions: Lesions, severity: float, x_mm: np.ndarray, rng: np.random.Generator) -> None:
    """Thicken the macula, add cysts and hard exudates, and in some scans subretinal fluid."""
    centre = rng.normal(0, 0.3)
    spread_mm = rng.uniform(0.8, 1.4)
    swelling_um = rng.uniform(50, 90) + 170 * severity
    lesions.thickening_um += swelling_um * np.exp(-(((x_mm - centre) / spread_mm) ** 2) / 2)
    lesions.thickening_um *= _lumpy(x_mm, rng, 0.06)
    if rng.random() < 0.3:
        lesions.fluid_um += rng.uniform(50, 180) * _dome(x_mm, rng.normal(0, 0.2), rng.uniform(0.4, 1.0), 1.3)
    _cysts(lesions, 4 + rng.poisson(14 * severity), centre, 0.75 * spread_mm, rng)
    _foci(lesions, rng.poisson(12), centre, 1.2, rng)


_DRAW = {"NORMAL": _normal, "CNV": _cnv, "DME": _dme, "DRUSEN": _drusen}


def _dome(x_mm: np.ndarray, centre_mm: float, half_mm: float, power: float) -> np.ndarray:
    return np.maximum(1 - ((x_mm - centre_mm) / half_mm) ** 2, 0) ** power


def _lumpy(x_mm: np.ndarray, rng: np.random.Generator, amount: float) -> np.ndarray:
    lumps = smooth_curve(rng, len(x_mm), round(WIDTH_MM / 0.3))[0]
    return np.clip(1 + amount * lumps, 0.2, None)


def _cysts(
    lesions: Lesions, count: int, centre_mm: float, spread_mm: float, rng: np.random.Generator
) -> None:
    """Add large upright cysts in the outer nuclear layer near the fovea, smaller ones in inner layers."""
    for _ in range(count):
        x_mm = rng.normal(centre_mm, spread_mm)
        outer = rng.random() < 0.7 * np.exp(-(x_mm**2))
        layer = "onl" if outer else ("inl" if rng.random() < 0.75 else "opl")
        size_um = rng.gamma(3.0, 34.0 if outer else 17.0) + 18
        lesions.bodies.append(
            Body(
                layer=layer,
                x_mm=x_mm,
                level=rng.uniform(0.3, 0.6),
                half_width_um=size_um * rng.uniform(0.7, 1.1),
                half_height_um=size_um * (rng.uniform(0.8, 1.6) if outer else rng.uniform(0.6, 0.9)),
                reflectivity=rng.uniform(0.06, 0.17),
                label=CYST,
            )
        )


def _foci(lesions: Lesions, count: int, centre_mm: float, spread_mm: float, rng: np.random.Generator) -> None:
    for _ in range(count):
        size_um = 5 + rng.gamma(2.0, 3.0)
        lesions.bodies.append(
            Body(
                layer=("opl", "inl", "onl")[rng.integers(3)],
                x_mm=rng.normal(centre_mm, spread_mm),
                level=rng.uniform(0.1, 0.9),
                half_width_um=size_um * rng.uniform(1.2, 2.5),
                half_height_um=size_um,
                reflectivity=rng.uniform(0.7, 0.95),
                label=FOCUS,
            )
        )
