"""Slices of DICOM and NIfTI files; without their packages they are left out."""

import nibabel
import numpy as np
import pydicom
import pytest

from covary.config.images import Images
from covary.errors import UserError
from covary.images.prepare import load, prepare
from covary.images.reading import UnreadableImage, read_picture, shallow_channels
from covary.images.sources import find_images


def write_dicom(path, values, **tags):
    """A DICOM file of uint16 or int16 values (y, x) or (frame, y, x), or of uint8 colours (y, x, 3)."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    colours = values.dtype == np.uint8
    bits = 8 if colours else 16
    data.Rows, data.Columns = values.shape[:2] if colours else values.shape[-2:]
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit, data.PixelRepresentation = bits - 1, int(values.dtype.kind == "i")
    data.SamplesPerPixel, data.PhotometricInterpretation = (3, "RGB") if colours else (1, "MONOCHROME2")
    if colours:
        data.PlanarConfiguration = 0
    elif values.ndim == 3:
        data.NumberOfFrames = len(values)
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = values.tobytes()
    data.save_as(path, enforce_file_format=True)


def noise(shape, dtype=np.uint16, low=0, high=4000):
    return np.random.default_rng(1).integers(low, high, shape).astype(dtype)


def test_a_dicom_slice_keeps_its_values(tmp_path):
    values = noise((6, 4))
    write_dicom(tmp_path / "a.dcm", values)
    picture = read_picture(tmp_path / "a.dcm")
    np.testing.assert_array_equal(picture.pixels, values[None])
    assert (picture.channels, picture.notes, picture.is_deep) == (("grey",), (), True)
    assert shallow_channels(tmp_path / "a.dcm") is None


def test_units_inversion_frames_and_colours_of_dicom(tmp_path):
    values = noise((6, 4), np.int16, -1000, 1000)
    write_dicom(tmp_path / "ct.dcm", values, RescaleSlope=2, RescaleIntercept=-5)
    np.testing.assert_array_equal(read_picture(tmp_path / "ct.dcm").pixels, 2.0 * values[None] - 5)
    values = noise((6, 4))
    write_dicom(tmp_path / "x.dcm", values, PhotometricInterpretation="MONOCHROME1")
    picture = read_picture(tmp_path / "x.dcm")
    np.testing.assert_array_equal(picture.pixels, 65535 - values[None])
    assert picture.notes == ("inverted (MONOCHROME1)",)
    frames = noise((5, 6, 4))
    write_dicom(tmp_path / "f.dcm", frames)
    picture = read_picture(tmp_path / "f.dcm")
    np.testing.assert_array_equal(picture.pixels, frames[2:3])
    assert picture.notes == ("frame 3 of 5",)
    colours = noise((6, 4, 3), np.uint8, 0, 256)
    write_dicom(tmp_path / "c.dcm", colours)
    picture = read_picture(tmp_path / "c.dcm")
    np.testing.assert_array_equal(picture.pixels, np.moveaxis(colours, -1, 0))
    assert picture.channels == ("red", "green", "blue")


def test_a_dicom_file_that_is_no_picture_is_unreadable(tmp_path):
    write_dicom(tmp_path / "a.dcm", noise((6, 4)))
    whole = (tmp_path / "a.dcm").read_bytes()
    for content in (b"", b"nothing", whole[:-20]):
        (tmp_path / "b.dcm").write_bytes(content)
        with pytest.raises(UnreadableImage):
            read_picture(tmp_path / "b.dcm")


def test_a_folder_of_dicom_is_scaled_by_its_range(tmp_path):
    values = noise((4, 16, 16), np.int16, -1000, 1000)
    for i, one in enumerate(values):
        (tmp_path / "ct" / ("train" if i else "test")).mkdir(parents=True, exist_ok=True)
        write_dicom(tmp_path / "ct" / ("train" if i else "test") / f"{i}.dcm", one)
    config = Images(source="folder", folder="ct", size_px=16)
    prepare(tmp_path / "ct", tmp_path / "out", config, 1, 1, tmp_path / "checkpoints")
    low, high = float(values.min()), float(values.max())
    expected = np.rint((values - low) * 255 / (high - low))
    np.testing.assert_array_equal(load(tmp_path / "out").train[:, 0], expected[1:])


def test_a_nifti_slice_stands_upright(tmp_path):
    """The array counts from left to right and from back to front; a picture's first row is the front."""
    volume = noise((4, 6, 5), np.int16, -100, 100)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii.gz")
    picture = read_picture(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(picture.pixels[0], volume[:, ::-1, 2].T)
    assert (picture.channels, picture.notes) == (("grey",), ("slice 3 of 5",))
    turned = np.diag([-1, 1, 1, 1])  # this file counts from right to left
    nibabel.save(nibabel.Nifti1Image(volume[::-1, :, 2:3], turned), tmp_path / "b.nii")
    np.testing.assert_array_equal(read_picture(tmp_path / "b.nii").pixels, picture.pixels)
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 2, 3), np.int16), np.eye(4)), tmp_path / "c.nii")
    with pytest.raises(UnreadableImage, match=r"shape \[4, 4, 2, 3\]; expected a slice or a volume"):
        read_picture(tmp_path / "c.nii")


@pytest.mark.parametrize(("name", "package"), [("a.dcm", "pydicom"), ("a.nii.gz", "nibabel")])
def test_without_the_package_one_line_names_it(tmp_path, monkeypatch, name, package):
    monkeypatch.setattr("covary.images.medical.find_spec", lambda package: None)
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=rf"^[^\n]*{name} \(needs the package {package}[^\n]*$"):
        find_images(tmp_path, 0.5, 1)
