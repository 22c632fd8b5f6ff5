"""Draw the B-scan of one row of factors."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, UInt8
from scipy.ndimage import gaussian_filter1d

from covary import rng
from covary.config.images import Phantom
from covary.phantom import lesions as disease
from covary.phantom.anatomy import DEPTH_UM, INDEX, LAYERS, WIDTH_MM, healthy_thickness_um
from covary.phantom.fields import smooth_curve, smooth_field
from covary.phantom.lesions import Body, Lesions, draw_lesions
from covary.phantom.optics import blur, display, log_speckle, power, quantise

VITREOUS = 0.05  # display reflectivity
_WHITE = 255
_STIFFNESS_MM = 0.18  # bumps of the outer retina narrower than this do not deform the inner retina


@dataclass(frozen=True)
class Labels:
    """Ground truth of a scan.

    `layers` is 0 in the vitreous, 1 + k in `anatomy.LAYERS[k]`, and len(LAYERS) + 1 from the choroid down.
    `lesions` holds the codes of `covary.phantom.lesions`. `boundaries_um` are depths of the tops of the
    layers, and last of the choroid, below the top of the frame.
    """

    layers: UInt8[np.ndarray, "height width"]
    lesions: UInt8[np.ndarray, "height width"]
    boundaries_um: Float[np.ndarray, "boundary width"]


@dataclass(frozen=True)
class Scan:
    """A phantom B-scan: as displayed, without speckle and corners, and its ground truth."""

    image: UInt8[np.ndarray, "height width"]
    clean: UInt8[np.ndarray, "height width"]
    labels: Labels


def render(factors_row: pd.Series, config: Phantom, seed: int) -> Scan:
    """Draw the scan of one row of `draw_factors`. Other draws are keyed by its image and its patient."""
    row = factors_row
    height, width = config.height_px, config.width_px
    rows_per_um = height / DEPTH_UM
    random = rng.generator(seed, "phantom/scan", int(row["image"]))
    anatomy = rng.generator(seed, "phantom/anatomy", int(row["patient"]))

    frame_mm = (np.arange(width) + 0.5) / width * WIDTH_MM - WIDTH_MM / 2
    x_mm = frame_mm - row["fovea_mm"]
    nasal_mm = x_mm if row["eye"] == "OD" else -x_mm

    lesions = draw_lesions(row["class"], row["severity"], x_mm, random)
    bruch_um = (
        row["position_um"]
        + 1000 * np.tan(np.deg2rad(row["tilt_deg"])) * frame_mm
        - row["curvature_um_per_mm2"] * frame_mm**2
        + 2.5 * smooth_curve(random, width, 5)[0]
    )
    thickness_um = healthy_thickness_um(nasal_mm, row["pit_depth"], row["pit_width"]) * row["thickness"]
    thickness_um *= np.exp(0.05 * anatomy.standard_normal((len(LAYERS), 1)))
    uneven = 0.03 * smooth_curve(random, width, 12, len(LAYERS))
    thickness_um *= np.exp(uneven + 0.012 * smooth_curve(random, width, 110, len(LAYERS)))
    _deform(thickness_um, lesions)
    # Layers are stacked upwards from Bruch's membrane, so boundaries cannot cross.
    bottom_um = bruch_um + thickness_um[-1]
    boundaries_um = bottom_um - np.vstack([thickness_um[::-1].cumsum(axis=0)[::-1], np.zeros(width)])
    boundaries = boundaries_um * rows_per_um

    vessels = _draw_vessels(x_mm, random)
    amplitude, transmission = _amplitudes(lesions, vessels, x_mm, random)
    reflected = _fill_layers(boundaries, amplitude, height)
    _add_choroid(reflected, boundaries[-1], row["choroid_um"], transmission, rows_per_um, random)
    lesion_labels = np.zeros((height, width), np.uint8)
    _add_bodies(reflected, lesion_labels, vessels + lesions.bodies, boundaries, x_mm, rows_per_um)
    reflected = blur(reflected)

    grey = display(reflected, row["luminance"], row["gain"])
    clean = quantise(grey)
    grey += log_speckle((height, width), row["looks"], random) * np.float32(255 * row["gain"])
    image = quantise(grey)
    if row["corner"]:
        _add_white_corners(image, random)

    layer_labels = _label_layers(boundaries, height)
    for name, code in _LAYER_LESIONS.items():
        lesion_labels[layer_labels == 1 + INDEX[name]] = code
    return Scan(image, clean, Labels(layer_labels, lesion_labels, boundaries_um))


_LAYER_LESIONS = {
    "sub_rpe": disease.SUB_RPE,
    "subretinal_fluid": disease.SUBRETINAL_FLUID,
    "subretinal_material": disease.SUBRETINAL_MATERIAL,
}
_SWELLING = {"ipl": 0.1, "inl": 0.3, "opl": 0.15, "onl": 0.45}


def _deform(thickness_um: np.ndarray, lesions: Lesions) -> None:
    thickness_um[INDEX["sub_rpe"]] = lesions.sub_rpe_um
    thickness_um[INDEX["subretinal_fluid"]] = lesions.fluid_um
    thickness_um[INDEX["subretinal_material"]] = lesions.material_um
    lift_um = lesions.sub_rpe_um + lesions.fluid_um + lesions.material_um
    followed_um = gaussian_filter1d(lift_um, _STIFFNESS_MM / WIDTH_MM * len(lift_um), mode="nearest")
    onl = thickness_um[INDEX["onl"]]
    onl += np.maximum(followed_um - lift_um, -0.75 * onl)
    for name, share in _SWELLING.items():
        thickness_um[INDEX[name]] += share * lesions.thickening_um


def _amplitudes(
    lesions: Lesions, vessels: list[Body], x_mm: np.ndarray, random: np.random.Generator
) -> tuple[Float32[np.ndarray, "region width"], Float32[np.ndarray, " width"]]:
    """Power of the vitreous and each layer by column, and the share of light that reaches the choroid."""
    width = len(x_mm)
    shown = np.array([layer.reflectivity for layer in LAYERS])[:, None] + 0.025 * smooth_curve(
        random, width, 90, len(LAYERS)
    )
    shown[INDEX["sub_rpe"]] += lesions.sub_rpe_reflectivity - LAYERS[INDEX["sub_rpe"]].reflectivity
    shown[INDEX["sub_rpe"]] += 0.05 * smooth_curve(random, width, 25)[0]
    # Photoreceptors over deposits are damaged, so their bands are darker.
    damage = np.clip(lesions.material_um / 60 + lesions.sub_rpe_um / 130 + lesions.fluid_um / 400, 0, 1)
    for name, loss in {"elm": 0.1, "ellipsoid": 0.35, "interdigitation": 0.3, "rpe": 0.05}.items():
        shown[INDEX[name]] -= loss * damage
    layers = power(shown)
    layers *= power(1 + 0.012 * smooth_curve(random, width, 4)[0])

    shade = np.ones(width, np.float32)
    for vessel in vessels:
        shade *= 1 - 0.75 / (1 + (np.abs(x_mm - vessel.x_mm) / (vessel.half_width_um / 1000)) ** 4)
    layers[INDEX["ipl"] :] *= shade
    opaque_um = lesions.material_um + 0.5 * lesions.sub_rpe_um + 0.15 * lesions.thickening_um
    transmission = (shade * np.exp(-opaque_um / 110)).astype(np.float32)
    vitreous = np.full((1, width), power(VITREOUS), np.float32)
    return np.vstack([vitreous, layers]), transmission


def _draw_vessels(x_mm: np.ndarray, random: np.random.Generator) -> list[Body]:
    """Two to five retinal vessels in cross section, none in the foveal avascular zone."""
    candidates = np.flatnonzero(np.abs(x_mm) > 0.7)
    return [
        Body("gcl", x_mm[column], 0.35, random.uniform(25, 65), random.uniform(18, 45), 0.72, disease.NONE)
        for column in random.choice(candidates, random.integers(2, 6))
    ]


def _fill_layers(
    boundaries: np.ndarray, amplitude: Float32[np.ndarray, "region width"], height: int
) -> Float32[np.ndarray, "height width"]:
    """Constant power between boundaries, with the exact mean in pixels that a boundary divides, else 0."""
    width = boundaries.shape[1]
    column = np.arange(width)
    steps = np.diff(amplitude, axis=0, append=np.float32(0))
    image = np.zeros((height + 2, width), np.float32)
    image[0] = amplitude[0]
    depth = np.clip(boundaries, 0, height)
    whole = depth.astype(np.intp)
    part = (depth - whole).astype(np.float32)
    for row, share, step in zip(whole, part, steps, strict=True):
        image[row, column] += step * (1 - share)
        image[row + 1, column] += step * share
    _accumulate_down(image)
    return image[:height]


def _label_layers(boundaries: np.ndarray, height: int) -> UInt8[np.ndarray, "height width"]:
    """Number of boundaries above each pixel centre."""
    count = np.zeros((height + 1, boundaries.shape[1]), np.uint8)
    column = np.arange(boundaries.shape[1])
    for row in np.clip(np.ceil(boundaries - 0.5), 0, height).astype(np.intp):
        count[row, column] += 1
    _accumulate_down(count)
    return count[:height]


def _accumulate_down(image: np.ndarray) -> None:
    """Cumulative sum along depth in place. By rows, this is several times faster than `cumsum`."""
    for above, here in pairwise(image):
        here += above


def _add_choroid(
    reflected: Float32[np.ndarray, "height width"], top: np.ndarray, choroid_um: float,
    transmission: Float32[np.ndarray, " width"], rows_per_um: float, random: np.random.Generator,
) -> None:  # fmt: skip
    """Add choroid and sclera below the last boundary: bright stroma, dark vessels, fading signal."""
    height, width = reflected.shape
    first = int(np.clip(np.floor(top.min()), 0, height - 1))
    span = height - first
    depth_um = ((np.arange(span, dtype=np.float32) + 0.5) / rows_per_um)[:, None]
    frame_um = span / rows_per_um

    def vessels(lateral_um: float, axial_um: float) -> np.ndarray:
        knots = (max(1, round(frame_um / axial_um)), round(1000 * WIDTH_MM / lateral_um))
        return smooth_field(random, (span, width), knots)

    large, small = vessels(210.0, 75.0), vessels(70.0, 32.0)
    end_um = (choroid_um * (1 + 0.08 * smooth_curve(random, width, 6)[0])).astype(np.float32)
    within = np.clip((end_um - depth_um) / 40, 0, 1)
    fading = np.exp(-depth_um / 300)
    deep = np.clip(depth_um / 90, 0, 1)  # large vessels lie deep, small ones near Bruch's membrane
    lumen = np.clip((0.5 + 0.7 * deep) * large + (0.9 - 0.5 * deep) * small, -0.3, 1)
    lumen *= within * np.clip(depth_um / 30, 0, 1)
    shown = 0.08 + fading * (0.56 - 0.17 * lumen + 0.05 * (1 - within))
    # Rows above the boundary take the row of zeros on top.
    flat = np.vstack([np.zeros((1, width), np.float32), power(shown) * transmission])
    row = np.arange(first + 1, height + 1)[:, None] - np.ceil(top).astype(np.intp)
    reflected[first:] += np.take_along_axis(flat, np.maximum(row, 0), axis=0)


def _add_bodies(
    reflected: np.ndarray, labels: np.ndarray, bodies: list[Body], boundaries: np.ndarray,
    x_mm: np.ndarray, rows_per_um: float,
) -> None:  # fmt: skip
    """Draw vessels, cysts and foci into their layers, following the slope of the layer."""
    height, width = reflected.shape
    columns_per_um = width / (1000 * WIDTH_MM)
    for body in bodies:
        column = int(np.searchsorted(x_mm, body.x_mm))
        if not 0 < column < width - 1:
            continue
        top, bottom = boundaries[INDEX[body.layer] : INDEX[body.layer] + 2]
        line = top + body.level * (bottom - top)
        half_height = body.half_height_um * rows_per_um
        if body.label == disease.CYST:
            half_height = min(half_height, 0.47 * (bottom - top)[column])
        half_width = max(min(body.half_width_um * columns_per_um, 3 * half_height), 0.5)
        left, right = max(0, int(column - half_width - 2)), min(width, int(column + half_width + 3))
        rows = line[left:right]
        first = max(0, int(rows.min() - half_height - 2))
        last = min(height, int(rows.max() + half_height + 3))
        if first >= last or half_height < 0.5:
            continue
        along = (np.arange(left, right) - column) / half_width
        across = (np.arange(first, last)[:, None] + 0.5 - rows) / half_height
        radius = np.sqrt(along**2 + across**2)
        cover = np.clip((1 - radius) * min(half_height, half_width) + 0.5, 0, 1).astype(np.float32)
        patch = reflected[first:last, left:right]
        patch += cover * (power(body.reflectivity) - patch)
        labels[first:last, left:right][cover > 0.5] = body.label


def _add_white_corners(image: np.ndarray, random: np.random.Generator) -> None:
    """Add white wedges at one corner or at two opposite ones, as the registration of scans leaves them."""
    height, width = image.shape
    across, down = random.uniform(0.15, 1.0), random.uniform(0.04, 0.2)
    edge = down * (1 - (np.arange(width) + 0.5) / (across * width))
    wedge = (np.arange(height)[:, None] + 0.5) / height < edge
    if random.random() < 0.5:
        wedge = wedge[:, ::-1]
    if random.random() < 0.5:
        wedge = wedge[::-1, ::-1]
    image[wedge] = _WHITE
    if random.random() < 0.5:
        image[wedge[::-1, ::-1]] = _WHITE
