"""Slices of medical images: DICOM through pydicom and NIfTI through nibabel. Both packages are optional."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

PACKAGES = {".dcm": "pydicom", ".nii": "nibabel", ".nii.gz": "nibabel"}
SUFFIXES = tuple(PACKAGES)


def missing_package(file: str) -> str:
    """The package that a file of this name needs and that is not installed; empty if there is none."""
    needed = (package for suffix, package in PACKAGES.items() if file.lower().endswith(suffix))
    return next((package for package in needed if find_spec(package) is None), "")


def read_slice(path: Path) -> tuple[Shaped[np.ndarray, "channel height width"], list[str]]:
    """Values of one slice, channels first, and what had to be done to them.

    Of several frames or slices the middle one is taken. A DICOM slice is grey, in the units of its modality,
    or has three colours. A NIfTI slice lies across the third axis of the closest canonical orientation:
    columns go from the subject's left to right, rows from front to back. Raises ValueError, or an error of
    the package, if the file holds something else.
    """
    return _dicom(path) if path.name.lower().endswith(".dcm") else _nifti(path)


def _dicom(path: Path) -> tuple[np.ndarray, list[str]]:
    import pydicom  # optional
    from pydicom.pixels import apply_modality_lut, pixel_array

    data = pydicom.dcmread(path)
    kind, n_frames = data.PhotometricInterpretation, int(data.get("NumberOfFrames") or 1)
    values = pixel_array(data, index=n_frames // 2)
    notes = [f"frame {n_frames // 2 + 1} of {n_frames}"] if n_frames > 1 else []
    if data.SamplesPerPixel == 3:
        return np.moveaxis(values, -1, 0), notes
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"{kind} is not supported; expected grey or three colours")
    if kind == "MONOCHROME1":
        values = (2**data.BitsStored - 1 if data.PixelRepresentation == 0 else -1) - values
        notes.append("inverted (MONOCHROME1)")
    if (
        data.get("RescaleSlope", 1) != 1
        or data.get("RescaleIntercept", 0) != 0
        or "ModalityLUTSequence" in data
    ):
        values = apply_modality_lut(values, data)
    return values[None], notes


def _nifti(path: Path) -> tuple[np.ndarray, list[str]]:
    import nibabel  # optional

    image = nibabel.as_closest_canonical(nibabel.load(path))
    shape = image.shape
    if len(shape) < 2 or any(n > 1 for n in shape[3:]):
        raise ValueError(f"has the shape {list(shape)}; expected a slice or a volume")
    volume = np.asanyarray(image.dataobj).reshape(*shape[:2], -1)
    n_slices = volume.shape[2]
    notes = [f"slice {n_slices // 2 + 1} of {n_slices}"] if n_slices > 1 else []
    return volume[:, :, n_slices // 2].T[None, ::-1], notes
