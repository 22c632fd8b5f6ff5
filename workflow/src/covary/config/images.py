"""Settings of the images and their preparation."""

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from covary.config.base import Fraction, Positive, Section


class Phantom(Section):
    """Procedural OCT B-scans, drawn when `images.source` is `phantom`."""

    train: Annotated[int, Field(ge=1, le=1_000_000)] = Field(1800, description="Training images to draw")
    test: Positive = Field(240, description="Test images to draw")
    height_px: int = Field(496, ge=64, description="Height of a B-scan over 1.92 mm, in pixels")
    width_px: int = Field(512, ge=64, description="Width of a B-scan over 5.9 mm, in pixels")
    corner_fraction: Fraction = Field(
        0.15, description="Share of scans with the white corners that registration leaves"
    )


class Crop(Section):
    """Centre crop, or black padding where an image is smaller, before the resize."""

    height_px: Positive = Field(496, description="Rows kept")
    width_px: Positive = Field(512, description="Columns kept")


class Oct(Section):
    """The treatment of OCT B-scans before they are resized, as in the paper."""

    fill_white_corners: bool = Field(True, description="Fill white registration corners with background")
    denoise_sd: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="Standard deviation, white being 1, of the noise that BM3D takes out before the crop "
        "(paper: 0.13; needs the package bm3d); null leaves it out",
    )
    crop: Crop | None = Field(
        default_factory=Crop, description="Centre crop or pad; null keeps the whole image"
    )


class Window(Section):
    """A fixed range of stored values."""

    low: float = Field(description="Stored value that becomes 0")
    high: float = Field(description="Stored value that becomes 255")

    @model_validator(mode="after")
    def _rises(self):
        if not self.low < self.high:
            raise ValueError(f"low must be < high, got {self.low:g} and {self.high:g}")
        return self


class DrawnCells(Section):
    """Procedural cells under the 104 treatments of BBBC021, where `images.source: cells` has no folder."""

    cells_per_well: Positive = Field(10, description="Cells to draw in each well")
    plates_per_week: Positive = Field(
        3, description="Plates, each with one well of every treatment of its week"
    )
    control_wells: Positive = Field(4, description="Wells of a plate with DMSO alone")


class Cells(Section):
    """Single cells in the layout of BBBC021, read when `images.source` is `cells`."""

    stains: list[str] = Field(
        default_factory=lambda: ["DNA", "actin", "tubulin"],
        min_length=1,
        description="What the channels of the files show, in their order (`images.channels` selects some)",
    )
    side_px: int = Field(68, ge=16, description="Rows, and columns, that every file must have")
    scale: Literal["maximum"] | Annotated[float, Field(gt=0)] = Field(
        "maximum",
        description="What becomes 255: the maximum of each channel of each image, or this stored value",
    )
    split_by: Literal["cell", "well", "treatment"] = Field(
        "cell", description="What is not divided between training and test images (paper: cell)"
    )

    @model_validator(mode="after")
    def _stains_differ(self):
        if len(set(self.stains)) < len(self.stains):
            raise ValueError(f"stains must differ, got {', '.join(self.stains)}")
        return self


class Images(Section):
    """Real or procedural images and how they are prepared."""

    source: Literal["phantom", "folder", "cells"] = Field(
        "phantom", description="Draw phantoms of OCT scans, read a folder of images, or read cells"
    )
    folder: str | None = Field(
        None,
        description="Folder of images when source is `folder`: {train,test}/CLASS/NAME.{jpeg,png,tif,dcm}, "
        "or CLASS/NAME, or NAME alone; any layout with `pattern` or `table`. When source is `cells`: the "
        "folder with metadata.csv; null: cells are drawn",
    )
    pattern: str | None = Field(
        None,
        description="Regular expression that the whole path in the folder must match, with the named groups "
        "patient, class or split (train or test), for instance `(?P<patient>person\\d+)_.*`; null: the "
        "patient is the middle part of CLASS-PATIENT-INDEX",
    )
    table: str | None = Field(
        None,
        description="CSV file with the column file (path in the folder) and any of patient, class, split",
    )
    phantom: Phantom = Field(default_factory=Phantom, description="Procedural images")
    cells: Cells = Field(default_factory=Cells, description="Single cells")
    drawn_cells: DrawnCells = Field(default_factory=DrawnCells, description="Procedural cells")
    channels: Literal["grey"] | Annotated[list[str], Field(min_length=1)] | None = Field(
        None,
        description="Channels kept: null all that the images have, `grey` one of their brightness, or a list "
        "that selects some by name (red, green, blue; channel_0, …) or gives all of them other names",
    )
    pages: Literal["channels", "first"] = Field(
        "channels", description="Pages of a TIFF file are channels, or only the first is read"
    )
    intensity: Literal["range", "percentiles"] | Window = Field(
        "range",
        description="Which values become 0 … 255: `range`, from the least to the greatest of the folder for "
        "images of more than 8 bits, 8-bit images as they are; `percentiles` 0.5 and 99.5; or {low, high}",
    )
    oct: Oct | None = Field(
        None,
        description="Treatment of OCT B-scans; phantoms always have it. A folder has it only if the section "
        "is given, `oct: {}` for its defaults",
    )
    fit: Literal["letterbox", "centre_square", "stretch"] | None = Field(
        None,
        description="How images become square: `letterbox` keeps the whole image and its aspect, with black "
        "margins; `centre_square` cuts the longer sides off; `stretch` gives up the aspect. null: letterbox, "
        "after an OCT treatment stretch",
    )
    size_px: int = Field(64, ge=16, description="Side of the square images that the VAE sees")
    generator_size_px: Annotated[int, Field(ge=16)] | None = Field(
        None,
        description="Side of the images that the generator learns and draws, and that predictors see; null: "
        "size_px",
    )
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.15, description="Share of images held out when the folder has no train/ and test/"
    )
    patient_disjoint: bool = Field(
        True,
        description="Leave out training images of patients who are also in test/; in OCT2017 some are",
    )
    max_unreadable_fraction: Fraction = Field(
        0.01, description="The run stops when more than this share of files cannot be read"
    )

    def without_effect(self) -> dict[str, str]:
        """Each source has keys of its own; a table replaces a pattern."""
        keys = {
            "phantom": ("folder", "pattern", "table", "cells", "drawn_cells", "test_fraction"),
            "folder": ("phantom", "cells", "drawn_cells"),
            "cells": ("phantom", "pattern", "table", "pages", "intensity", "oct", "patient_disjoint"),
        }
        idle = dict.fromkeys(keys[self.source], f"with source {self.source}")
        if self.source == "cells" and self.folder is not None:
            idle["drawn_cells"] = "with a folder"
        by_table = {} if self.table is None else {"pattern": "with a table"}
        return by_table | idle

    @model_validator(mode="after")
    def _pattern_has_known_groups(self):
        if self.pattern is None:
            return self
        try:
            groups = set(re.compile(self.pattern).groupindex)
        except re.error as error:
            raise ValueError(
                f"pattern must be a regular expression ({error}), got {self.pattern!r}"
            ) from None
        if not groups or groups - {"patient", "class", "split"}:
            raise ValueError("pattern must have named groups out of patient, class, split, got "
                             f"{', '.join(sorted(groups)) or 'none'}")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _channels_differ(self):
        if isinstance(self.channels, list) and len(set(self.channels)) < len(self.channels):
            raise ValueError(f"channels must differ, got {', '.join(self.channels)}")
        return self

    @property
    def are_drawn(self) -> bool:
        """Whether the images are procedural."""
        return self.source == "phantom" or (self.source == "cells" and self.folder is None)

    @property
    def treatment(self) -> Oct | None:
        """The treatment of OCT B-scans, if these images have one."""
        return Oct() if self.oct is None and self.source == "phantom" else self.oct

    @property
    def fitted(self) -> Literal["letterbox", "centre_square", "stretch"]:
        """How images become square."""
        return self.fit or ("letterbox" if self.treatment is None else "stretch")

    @property
    def sizes_px(self) -> list[int]:
        """Sides at which images are prepared: for the VAE and, if it differs, for the generator."""
        return [self.size_px, *({self.drawn_size_px} - {self.size_px})]

    @property
    def drawn_size_px(self) -> int:
        """Side of the images that the generator learns and draws."""
        return self.generator_size_px or self.size_px
