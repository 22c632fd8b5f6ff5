"""Draw one cell: nucleus, actin and microtubules from its factors."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, UInt16
from scipy.ndimage import gaussian_filter

from covary.phantom.fields import smooth_field

SIZE_PX = 68
STAINS = ("DNA", "actin", "tubulin")
_JITTER_PX = 5.0  # with less, the mean image alone tells the modes (benchmarks/README.md, Cells)
_STEP_PX = 0.7  # of filaments
_WAVES = range(3, 9)  # around an outline
_MOST_WAVES = _WAVES[-1]
_WHITE = 30_000  # stored value of a bright pixel

Field = Float[np.ndarray, "y x"]


def render(cell: Mapping[str, Any], random: np.random.Generator) -> UInt16[np.ndarray, "y x stain"]:
    """The image of a cell, 68 × 68 × 3, with all noise of the camera.

    `cell` has the factors of `factors.draw_factors`; position, orientation and texture are drawn from
    `random`.
    """
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX] - (SIZE_PX - 1) / 2
    dy, dx = random.normal(0, _JITTER_PX, 2).clip(-2 * _JITTER_PX, 2 * _JITTER_PX)
    axis = random.uniform(0, np.pi)
    body = _Outline(y - dy, x - dx, cell["cell_px"], cell["elongation"], axis, random,
                    ruggedness=cell["ruggedness"], spikes=random.poisson(cell["spikes"]))  # fmt: skip
    away, towards = random.uniform(0, 2.5), random.uniform(0, 2 * np.pi)
    ny, nx = dy + away * np.sin(towards), dx + away * np.cos(towards)
    centrosome_angle = random.uniform(0, 2 * np.pi)
    nucleus = _nucleus(cell, y - ny, x - nx, axis, centrosome_angle, random)
    dna = nucleus["dna"]
    cover = body.cover()
    actin = _actin(cell, body, cover, axis, (dy, dx), random)
    centrosome = (ny, nx) + 0.9 * nucleus["radius_px"] * np.array(
        [np.sin(centrosome_angle), np.cos(centrosome_angle)]
    ) * (1 - min(cell["rosette"], 1))
    tubulin = _tubulin(cell, body, cover, nucleus["cover"], (ny, nx), centrosome, random)
    return _photograph(np.stack([dna, actin, tubulin], axis=-1), cell, random)


class _Outline:
    """A closed outline around the origin: how far it is away in the direction of each pixel."""

    def __init__(
        self, y: Field, x: Field, radius_px: float, elongation: float, axis: float,
        random: np.random.Generator, *, ruggedness: float = 0.0, spikes: int = 0, lobes: float = 0.0,
    ):  # fmt: skip
        self.y, self.x = y, x
        self.distance_px = np.hypot(y, x)
        self.angle = np.arctan2(y, x)
        self.radius_px = radius_px * self._relative(elongation, axis, ruggedness, lobes, random)
        for _ in range(spikes):
            at, width = random.uniform(0, 2 * np.pi), random.uniform(0.06, 0.12)
            away = np.abs(self.angle - np.remainder(at + np.pi, 2 * np.pi) + np.pi)
            away = np.minimum(away, 2 * np.pi - away)
            length = random.uniform(0.25, 0.6) * radius_px
            self.radius_px = self.radius_px + length * np.exp(-((away / width) ** 2) / 2)

    def _relative(
        self, elongation: float, axis: float, ruggedness: float, lobes: float, random: np.random.Generator
    ) -> Field:
        """Radius at each angle, 1 on average: an ellipse, with waves of many lengths and with lobes."""
        # cos(n·angle + phase) is the real part of direction^n·exp(i·phase): powers are cheaper than cosines.
        direction = np.exp(1j * self.angle)
        turned = direction * np.exp(-1j * axis)
        waves = np.zeros(_MOST_WAVES + 1, complex)  # coefficients of the powers of `direction`
        for wave in _WAVES:
            amplitude = ruggedness * random.standard_normal() * 2 / wave**0.5
            waves[wave] += amplitude * np.exp(1j * random.uniform(0, 2 * np.pi))
        count = random.integers(3, 6)
        waves[count] += lobes * np.exp(1j * random.uniform(0, 2 * np.pi))
        logarithm = np.polynomial.polynomial.polyval(direction, waves).real
        stretched = np.hypot(turned.real * np.exp(-elongation / 2), turned.imag * np.exp(elongation / 2))
        return np.exp(logarithm) / stretched

    def cover(self, softness_px: float = 0.8) -> Field:
        """1 inside, 0 outside, with a soft border."""
        return 1 / (1 + np.exp(np.clip((self.distance_px - self.radius_px) / softness_px, -30, 30)))


def _blob(y: Field, x: Field, at: tuple[float, float], sd_px: float) -> Field:
    return np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * sd_px**2))


def _inside(random: np.random.Generator, radius_px: float, least: float = 0.0) -> tuple[float, float]:
    """A point in a disc, at least `least` of the radius away from its centre."""
    r = radius_px * np.sqrt(random.uniform(least**2, 1))
    angle = random.uniform(0, 2 * np.pi)
    return r * np.sin(angle), r * np.cos(angle)


def _nucleus(cell, y, x, axis, centrosome_angle, random) -> dict:
    """DNA, where the nucleus is, and its radius."""
    pieces = random.poisson(cell["micronuclei"])
    radius_px = cell["nucleus_px"] * (1 - 0.07 * min(pieces, 6))
    outline = _Outline(y, x, radius_px, cell["nucleus_elongation"], axis + random.normal(0, 0.3), random,
                       ruggedness=0.01, lobes=cell["lobes"])  # fmt: skip
    cover = outline.cover(0.6)
    for _ in range(pieces):
        angle, size = random.uniform(0, 2 * np.pi), radius_px * random.uniform(0.3, 0.6)
        away = radius_px + 1.8 * size
        part = _Outline(y - away * np.sin(angle), x - away * np.cos(angle), size, 0.2, angle, random)
        cover = np.maximum(cover, part.cover(0.6))
    dent = radius_px * np.array([np.sin(centrosome_angle), np.cos(centrosome_angle)])
    cover = cover * (1 - min(cell["dent"], 1) * _blob(y, x, tuple(0.85 * dent), 0.45 * radius_px))
    texture = smooth_field(random, (SIZE_PX, SIZE_PX), (22, 22))
    dna = cover * (0.75 + cell["chromatin"] * texture)
    for _ in range(random.poisson(cell["nucleoli"])):
        hole = _blob(y, x, _inside(random, 0.65 * radius_px), 0.16 * radius_px)
        dna = dna * (1 - 0.55 * hole)
    for _ in range(random.poisson(cell["foci"])):
        dna = dna + 0.8 * cover * _blob(y, x, _inside(random, 0.85 * radius_px), 1.0)
    rosette = min(cell["rosette"], 1)
    if rosette > 0.15:
        arms = 0.75 + 0.35 * np.cos(random.integers(8, 13) * outline.angle + random.uniform(0, 2 * np.pi))
        at_px = 0.62 * radius_px
        ring = np.exp(-(((outline.distance_px - at_px) / (0.24 * radius_px)) ** 2))
        dna = (1 - rosette) * dna + rosette * 1.3 * ring * arms
    return {"dna": dna, "cover": cover, "radius_px": radius_px}


def _actin(cell, body: _Outline, cover: Field, axis: float, centre, random) -> Field:
    """Cortex, contacts with neighbours, stress fibres, clumps and a faint cytoplasm."""
    edge = np.exp(-(((body.distance_px - body.radius_px) / 1.3) ** 2))
    contact = min(cell["neighbours"], 1.2)
    # Contacts with neighbours are straight and bright, and what lies beyond belongs to another cell.
    touched = 0.5 + 0.5 * np.cos(body.angle - random.uniform(0, 2 * np.pi)) < contact
    beyond = np.clip((body.distance_px - body.radius_px) / 3, 0, 1) * touched
    ragged = 1 + 0.35 * smooth_field(random, (SIZE_PX, SIZE_PX), (14, 14))
    actin = cell["cortex"] * edge * ragged * (0.55 + 0.6 * touched * contact)
    actin = actin + 0.16 * cover + 0.13 * beyond * min(contact, 1)
    fibres = _Lines()
    for _ in range(random.poisson(cell["fibres"])):
        half_px = random.uniform(0.4, 0.85) * cell["cell_px"]
        offset = random.uniform(-0.75, 0.75) * cell["cell_px"]
        along = np.arange(-half_px, half_px, _STEP_PX)
        turned = axis + random.normal(0, 0.12)
        rows = along * np.sin(turned) + offset * np.cos(turned)
        columns = along * np.cos(turned) - offset * np.sin(turned)
        fibres.add(rows + centre[0], columns + centre[1], random.uniform(0.25, 0.5))
    actin = actin + cover * gaussian_filter(fibres.image(), 0.6)
    clumps = np.zeros((SIZE_PX, SIZE_PX))
    for _ in range(random.poisson(cell["clumps"])):
        at = _inside(random, 0.85 * cell["cell_px"], 0.3)
        clumps += random.uniform(0.5, 1.1) * _blob(body.y, body.x, at, random.uniform(0.9, 1.9))
    return actin + cover * clumps


def _tubulin(cell, body, cover, nucleus, nucleus_at, centrosome, random) -> Field:
    """Microtubules from the centrosome and from elsewhere, bundles, haze and the aggresome."""
    dome = cover * np.sqrt(np.clip(1 - (body.distance_px / (1.15 * body.radius_px)) ** 2, 0.05, 1))
    lines = _Lines()
    count = random.poisson(cell["filaments"])
    at_centrosome = random.random(count) < cell["aster"]
    for from_centrosome in at_centrosome:
        if from_centrosome:
            start, heading = centrosome, random.uniform(0, 2 * np.pi)
        else:
            start = np.add(nucleus_at, _inside(random, 0.85 * cell["cell_px"], 0.3))
            heading = np.arctan2(*(start - np.asarray(nucleus_at))) + random.normal(0, 0.7)
        length_px = cell["reach"] * cell["cell_px"] * random.uniform(0.5, 1.1)
        _filament(lines, start, heading, length_px, cell["curl"], 0.7, random)
    for _ in range(random.poisson(cell["bundles"])):
        angle, away = random.uniform(0, 2 * np.pi), random.uniform(0.9, 1.5) * cell["nucleus_px"]
        start = np.asarray(nucleus_at) + away * np.array([np.sin(angle), np.cos(angle)])
        heading = angle + np.pi / 2 + random.normal(0, 0.25)
        _filament(lines, start, heading, random.uniform(0.5, 0.9) * cell["cell_px"], 0.06, 2.2, random, 0.09)
    filaments = gaussian_filter(lines.image(), 0.5)
    tubulin = cover * (1 - 0.6 * nucleus) * (filaments + 0.55 * cell["haze"] * dome)
    place = np.asarray(nucleus_at) + 1.25 * (np.asarray(centrosome) - nucleus_at)
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX] - (SIZE_PX - 1) / 2
    return tubulin + 1.9 * cell["aggresome"] * _blob(y, x, tuple(place), 2.8)


def _filament(lines: "_Lines", start, heading, length_px, curl, weight, random, bend: float = 0.0) -> None:
    """A walk whose direction changes at random, and steadily by `bend` per pixel."""
    steps = max(2, int(length_px / _STEP_PX))
    turns = curl * np.sqrt(_STEP_PX) * random.standard_normal(steps) + bend * _STEP_PX
    direction = heading + np.cumsum(turns)
    rows = start[0] + _STEP_PX * np.cumsum(np.sin(direction))
    columns = start[1] + _STEP_PX * np.cumsum(np.cos(direction))
    lines.add(rows, columns, weight)


class _Lines:
    """Points at places relative to the centre of the image, drawn all at once."""

    def __init__(self):
        self._points: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, rows: np.ndarray, columns: np.ndarray, weight: float) -> None:
        """Points of equal weight."""
        self._points.append((rows, columns, np.full(len(rows), weight)))

    def image(self) -> Field:
        """Each point, shared by the four pixels around it."""
        if not self._points:
            return np.zeros((SIZE_PX, SIZE_PX))
        rows, columns, weights = (np.concatenate(part) for part in zip(*self._points, strict=True))
        rows, columns = rows + (SIZE_PX - 1) / 2, columns + (SIZE_PX - 1) / 2
        inside = (rows >= 0) & (rows < SIZE_PX - 1) & (columns >= 0) & (columns < SIZE_PX - 1)
        rows, columns, weights = rows[inside], columns[inside], weights[inside]
        top, left = rows.astype(int), columns.astype(int)
        down, right = rows - top, columns - left
        at = top * SIZE_PX + left
        shares = (1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right
        drawn = np.bincount(
            np.concatenate([at, at + 1, at + SIZE_PX, at + SIZE_PX + 1]),
            np.concatenate(shares) * np.tile(weights, 4),
            minlength=SIZE_PX**2,
        )
        return drawn.reshape(SIZE_PX, SIZE_PX)


def _photograph(light, cell, random) -> UInt16[np.ndarray, "y x stain"]:
    """Blur, gain of the stain, background, noise of photons and of the camera, 16 bits."""
    seen = gaussian_filter(np.maximum(light, 0), (cell["blur_px"], cell["blur_px"], 0))
    seen = seen * np.exp(random.normal(0, 0.3, 3)) + cell["background"] * np.exp(random.normal(0, 0.4, 3))
    noisy = seen + cell["noise"] * np.sqrt(seen + 0.05) * 2 * random.standard_normal(seen.shape)
    return np.rint(np.clip(noisy * _WHITE, 0, 65_535)).astype(np.uint16)
