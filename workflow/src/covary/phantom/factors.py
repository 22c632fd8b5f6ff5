"""The known factors of the phantoms: one row per image."""

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from covary import rng
from covary.config.images import Phantom

CLASSES = ("NORMAL", "CNV", "DME", "DRUSEN")
CLASS_FREQUENCIES = (0.47, 0.34, 0.11, 0.08)  # of the OCT2017 training images

# Mean and standard deviation of factors drawn from a normal distribution that is cut at ±2.5 standard
# deviations. A small VAE should find the first four. The effects of the others on the image are smaller.
IMAGE_FACTORS = {
    "position_um": (1060.0, 130.0),  # depth of Bruch's membrane below the top of the frame, at its centre
    "tilt_deg": (0.0, 3.2),  # positive: the right-hand side lies deeper
    "luminance": (-0.02, 0.05),  # added to the display value
    "curvature_um_per_mm2": (8.0, 13.0),  # positive: edges rise towards the vitreous
    "gain": (1.1, 0.04),  # multiplies the display value
    "fovea_mm": (0.0, 0.25),  # position of the fovea relative to the centre of the frame
    "looks": (9.0, 2.0),  # number of averaged frames, which decides the contrast of the speckle
}
PATIENT_FACTORS = {
    "thickness": (1.0, 0.06),  # multiplies every layer
    "pit_depth": (0.88, 0.04),
    "pit_width": (1.0, 0.1),
    "choroid_um": (270.0, 50.0),
}
_CUT = 2.5
_BLOCK_IMAGES = 10  # ten consecutive images belong to four patients with 1, 2, 3 and 4 scans
_BLOCK_PATIENTS = 4


def draw_factors(seed: int, start: int, stop: int, config: Phantom) -> pd.DataFrame:
    """Factors of the images `start … stop - 1`.

    A row depends on the number of its image only, so a range can be drawn in any pieces. Scans of one patient
    have the same class, eye, severity, layer thickness, pit and choroid.

    Columns: image, patient, scan (1 to 4 within the patient), class, eye (OD or OS), severity (0 in
    NORMAL), corner (whether the scan has a white corner), IMAGE_FACTORS and PATIENT_FACTORS.
    Raises ValueError if the range is empty or negative.
    """
    image = np.arange(start, stop)
    draws = rng.uniform(seed, "phantom/image", start, stop, (len(IMAGE_FACTORS) + 1,))
    if not image.size:
        raise ValueError(f"images must be a range start < stop, got {start} … {stop}")
    patient, scan = _patients(seed, image)
    table = {"image": image, "patient": patient, "scan": scan}

    first, last = int(patient.min()), int(patient.max())
    own = rng.uniform(seed, "phantom/patient", first, last + 1, (len(PATIENT_FACTORS) + 3,))[patient - first]
    kind = np.searchsorted(np.cumsum(CLASS_FREQUENCIES)[:-1], own[:, 0], side="right")
    table["class"] = np.array(CLASSES)[kind]
    table["eye"] = np.where(own[:, 1] < 0.5, "OD", "OS")
    table["severity"] = np.where(kind == CLASSES.index("NORMAL"), 0.0, 0.25 + 0.75 * own[:, 2])
    for column, (name, (mean, sd)) in zip(own.T[3:], PATIENT_FACTORS.items(), strict=True):
        table[name] = mean + sd * _cut_normal(column)
    for column, (name, (mean, sd)) in zip(draws.T[1:], IMAGE_FACTORS.items(), strict=True):
        table[name] = mean + sd * _cut_normal(column)
    table["corner"] = draws[:, 0] < config.corner_fraction
    return pd.DataFrame(table)


def _cut_normal(uniform: np.ndarray) -> np.ndarray:
    tail = ndtr(-_CUT)
    return ndtri(tail + (1 - 2 * tail) * uniform)


def _patients(seed: int, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patient number and scan number of each image."""
    block, offset = image // _BLOCK_IMAGES, image % _BLOCK_IMAGES
    order = rng.uniform(seed, "phantom/scans", int(block[0]), int(block[-1]) + 1, (_BLOCK_PATIENTS,))
    scans = order.argsort(axis=1) + 1
    ends = scans.cumsum(axis=1)[block - block[0]]
    member = (offset[:, None] >= ends).sum(axis=1)
    before = ends[np.arange(len(image)), member] - scans[block - block[0], member]
    return _BLOCK_PATIENTS * block + member, offset - before + 1
