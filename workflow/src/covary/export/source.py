"""The source of every export: a finished dataset and its configuration."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import UInt8
from PIL import Image

from covary import store
from covary.config.experiment import Config
from covary.config.reading import load
from covary.dataset import names
from covary.dataset.scenario import Scenario
from covary.dataset.subjects import members, splits_of
from covary.errors import UserError

_IMAGES_AT_ONCE = 4096


@dataclass(frozen=True)
class Source:
    """A finished experiment in its results folder."""

    settings: Config
    dataset: Path
    tree: xr.DataTree

    @classmethod
    def open(cls, results: Path) -> "Source":
        """Open `results/<experiment>`. Raises UserError that names what is missing."""
        for name in (names.MANIFEST, "config.yaml", names.DATASET):
            if not (results / name).exists():
                raise UserError(f"{results / name}: no such file; export needs a finished experiment")
        dataset = results / names.DATASET
        return cls(load(results / "config.yaml"), dataset, store.open(dataset))

    @property
    def scenarios(self) -> list[Scenario]:
        """The scenarios of the dataset."""
        return [Scenario(variance) for variance in self.settings.association.noise_variances]

    @property
    def random_effects(self) -> list[str]:
        """Names of the random effects in tables: eta_1, eta_2, …."""
        return [f"eta_{i + 1}" for i in range(self.tree["subjects/eta"].shape[1])]

    def splits(self) -> dict[str, slice]:
        """The subjects of each split, which are contiguous."""
        subjects = self.tree[names.SUBJECTS].to_dataset()
        return {split: members(subjects, split) for split in splits_of(subjects)}

    @property
    def channels(self) -> list[str]:
        """Names of the channels of the images."""
        return self.tree["images/channel"].values.tolist()

    def images(self, subjects: slice) -> Iterator[tuple[int, UInt8[np.ndarray, "channel y x"]]]:
        """Each subject's number and image, read in runs of whole chunks."""
        array = self.tree["images/image"]
        for start in range(subjects.start, subjects.stop, _IMAGES_AT_ONCE):
            stop = min(start + _IMAGES_AT_ONCE, subjects.stop)
            yield from zip(range(start, stop), array[start:stop].values, strict=True)

    def write_images(self, target: Path) -> None:
        """Write every image to where `image_path` says, in the new folder `target`/images."""
        for split, subjects in self.splits().items():
            (target / "images" / split).mkdir(parents=True)
            for subject, image in self.images(subjects):
                (target / self.image_path(split, subject)).write_bytes(encoded(image))

    def image_path(self, split: str, subject: int) -> str:
        """Where the image of a subject lies in an export that has images as files."""
        suffix = "png" if _is_picture(len(self.channels)) else "tif"
        return f"images/{split}/{subject:07d}.{suffix}"


def encoded(image: UInt8[np.ndarray, "channel y x"]) -> bytes:
    """The bytes of a PNG file for one or three channels, or of a TIFF file with a page for each channel."""
    file = io.BytesIO()
    if _is_picture(len(image)):
        pixels = image[0] if len(image) == 1 else np.ascontiguousarray(np.moveaxis(image, 0, -1))
        Image.fromarray(pixels).save(file, format="PNG")
    else:
        first, *others = map(Image.fromarray, image)
        first.save(file, format="TIFF", save_all=True, append_images=others, compression="tiff_adobe_deflate")
    return file.getvalue()


def _is_picture(channels: int) -> bool:
    """Whether a PNG file can hold so many channels without one of them being taken for transparency."""
    return channels in (1, 3)
