"""Settings of the images and their preparation."""

from typing import Annotated, Literal

from pydantic import Field

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


class Images(Section):
    """Real or procedural images and how they are prepared."""

    source: Literal["phantom", "folder"] = Field("phantom", description="Draw phantoms, or read a folder")
    folder: str | None = Field(
        None,
        description="Folder of images when source is `folder`: {train,test}/CLASS/NAME.{jpeg,jpg,png,tif}, "
        "or CLASS/NAME, or NAME alone",
    )
    phantom: Phantom = Field(default_factory=Phantom, description="Procedural images")
    size_px: int = Field(64, ge=16, description="Side of the square images that VAE and predictors see")
    generator_size_px: Annotated[int, Field(ge=16)] | None = Field(
        None, description="Side of the images the generator learns and draws; null: size_px"
    )
    fill_white_corners: bool = Field(True, description="Fill white registration corners with background")
    denoise_sd: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="Standard deviation, white being 1, of the noise that BM3D takes out before the crop "
        "(paper: 0.13; needs the package bm3d); null leaves it out",
    )
    crop: Crop | None = Field(
        default_factory=Crop, description="Centre crop or pad; null keeps the whole image"
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
        """Phantoms come from no folder, and are drawn for training and test."""
        if self.source == "phantom":
            return dict.fromkeys(("folder", "test_fraction"), "with source phantom")
        return {"phantom": "with source folder"}

    @property
    def sizes_px(self) -> list[int]:
        """Sides at which images are prepared: for the VAE and, if it differs, for the generator."""
        return [self.size_px, *({self.drawn_size_px} - {self.size_px})]

    @property
    def drawn_size_px(self) -> int:
        """Side of the images that the generator learns and draws."""
        return self.generator_size_px or self.size_px
