"""Thickness and reflectivity of the retinal layers along a horizontal B-scan, in health."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

DEPTH_UM = 1920.0  # axial extent of a frame: 496 rows of 3.87 µm
WIDTH_MM = 5.9  # lateral extent of a frame: 20° on the retina

# Nodes are distances from the fovea: temporal side negative, nasal side positive.
_NODES_MM = np.array([-3.6, -2.25, -1.0, 0.0, 1.0, 2.25, 3.6])


@dataclass(frozen=True)
class Layer:
    """One layer: thickness at the nodes in µm and mean display reflectivity in [0, 1] over 40 dB."""

    name: str
    thickness_um: tuple[int, ...]
    reflectivity: float


# From the vitreous down to Bruch's membrane. Parafoveal and perifoveal means are those of normal eyes
# (PMC6042244, table 6). The thickness of photoreceptors and RPE in that table is divided among their bands.
LAYERS = (
    Layer("rnfl", (15, 19, 17, 2, 20, 46, 70), 0.80),
    Layer("gcl", (26, 37, 47, 1, 50, 40, 24), 0.53),
    Layer("ipl", (26, 33, 41, 3, 42, 31, 24), 0.60),
    Layer("inl", (28, 34, 36, 4, 40, 35, 28), 0.42),
    Layer("opl", (22, 26, 31, 11, 32, 28, 24), 0.59),
    Layer("onl", (46, 56, 68, 104, 70, 56, 46), 0.33),
    Layer("elm", (6, 6, 6, 6, 6, 6, 6), 0.47),
    Layer("myoid", (16, 16, 16, 18, 16, 16, 16), 0.38),
    Layer("ellipsoid", (13, 13, 13, 15, 13, 13, 13), 0.86),
    Layer("outer_segments", (15, 16, 17, 26, 17, 16, 15), 0.52),
    Layer("interdigitation", (9, 9, 9, 9, 9, 9, 9), 0.74),
    Layer("subretinal_fluid", (0,) * 7, 0.10),
    Layer("subretinal_material", (0,) * 7, 0.70),
    Layer("rpe", (16, 16, 16, 17, 16, 16, 16), 0.93),
    Layer("sub_rpe", (0,) * 7, 0.50),
    Layer("bruch", (5, 5, 5, 5, 5, 5, 5), 0.72),
)
INDEX = {layer.name: index for index, layer in enumerate(LAYERS)}

_FOVEA = 3
_TABLE_UM = np.array([layer.thickness_um for layer in LAYERS], dtype=np.float64)


def healthy_thickness_um(
    distance_mm: Float[np.ndarray, " width"], pit_depth: float, pit_width: float
) -> Float[np.ndarray, "layer width"]:
    """Thickness of each layer at signed distances from the fovea (nasal positive).

    `pit_depth` 1 gives the foveal centre of the table, 0 gives no pit. `pit_width` scales the distance at
    which the parafoveal thickness is reached (1: 1 mm).
    """
    table = _TABLE_UM.copy()
    parafovea = (table[:, _FOVEA - 1] + table[:, _FOVEA + 1]) / 2
    table[:, _FOVEA] = parafovea + pit_depth * (table[:, _FOVEA] - parafovea)
    nodes_mm = _NODES_MM.copy()
    nodes_mm[[_FOVEA - 1, _FOVEA + 1]] *= pit_width
    thickness = PchipInterpolator(nodes_mm, table, axis=1)(distance_mm)
    return np.maximum(thickness, 0.0)
