"""Read image files with all the values and channels that they hold."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from covary.images import medical
from covary.images.channels import GREY, RGB, numbered

SUFFIXES = (".jpeg", ".jpg", ".png", ".tif", ".tiff", *medical.SUFFIXES)
Pages = Literal["channels", "first"]

_DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_ORIENTATION = 0x0112  # the EXIF tag; 1 is upright
_OTHER_ORDER = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}


class UnreadableImage(ValueError):
    """A file that is not a whole image of a known kind; the message says why."""


@dataclass(frozen=True)
class Picture:
    """What a file holds: values as they are stored, 8 bits or more, and the names of its channels.

    `notes` name what had to be done to them, such as `upright by EXIF`.
    """

    pixels: Shaped[np.ndarray, "channel height width"]
    channels: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_deep(self) -> bool:
        """Whether values have more than 8 bits."""
        return self.pixels.dtype != np.uint8


def read_picture(path: Path, pages: Pages = "channels") -> Picture:
    """Decode a whole image file.

    16-bit colours keep all their bits. Palettes are looked up, transparent pixels are laid over black, and
    an image that EXIF says was taken sideways is turned upright. Pages of a TIFF file are channels, or with
    `pages="first"` only the first page is read. Of a DICOM or NIfTI file one slice is read (see
    `medical.read_slice`). Raises UnreadableImage if the file cannot be decoded to its end or holds values
    that are no brightness: NaN, infinite, or negative floats, which only medical images may have.
    """
    try:
        if _is_medical(path):
            return _read_medical(path)
        with Image.open(path) as image:
            return _read(path, image, pages)
    except (MemoryError, UnreadableImage):
        raise
    except Image.DecompressionBombError:
        raise _too_large() from None
    except Exception as error:  # on damaged bytes a decoder may raise nearly anything
        raise UnreadableImage(f"{type(error).__name__}: {' '.join(str(error).split())}") from None


def shallow_channels(path: Path, pages: Pages = "channels") -> tuple[str, ...] | None:
    """Names of the channels of an 8-bit file, from its header alone; None if its values must be looked at.

    Those of a medical image always must.

    Raises UnreadableImage if there is no readable header.
    """
    if _is_medical(path):
        return None
    try:
        with Image.open(path) as image:
            if image.mode in _DEEP_GREY or _is_deep_colour(image) or _is_stack(image, pages):
                return None
            return _names(image)
    except Image.DecompressionBombError:
        raise _too_large() from None
    except Exception as error:
        raise UnreadableImage(f"{type(error).__name__}: {' '.join(str(error).split())}") from None


def _too_large() -> UnreadableImage:
    return UnreadableImage(
        f"has more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels, the most that are decoded; reduce it first"
    )


def _is_medical(path: Path) -> bool:
    return path.name.lower().endswith(medical.SUFFIXES)


def _read_medical(path: Path) -> Picture:
    pixels, notes = medical.read_slice(path)
    if pixels.dtype.kind not in "uif":
        raise UnreadableImage(f"holds values of type {pixels.dtype}; expected whole numbers or floats")
    if not np.isfinite(pixels).all():
        raise UnreadableImage("holds values that are not finite (NaN or infinite)")
    return Picture(np.ascontiguousarray(pixels), GREY if len(pixels) == 1 else RGB, tuple(notes))


def _read(path: Path, image: Image.Image, pages: Pages) -> Picture:
    n_pages = getattr(image, "n_frames", 1)
    if not _is_stack(image, pages):
        notes = [f"first of {n_pages} pages"] if n_pages > 1 else []
        return _upright(path, image, notes)
    found = []
    for page in range(n_pages):
        image.seek(page)
        found.append(_upright(path, image, []))
    if {(picture.channels, picture.pixels.shape, picture.pixels.dtype) for picture in found} != {
        (GREY, found[0].pixels.shape, found[0].pixels.dtype)
    }:
        raise UnreadableImage(
            f"{n_pages} pages that are not grey images of one size and depth; images.pages: first reads the "
            "first page alone"
        )
    notes = dict.fromkeys(note for picture in found for note in picture.notes)
    return Picture(np.concatenate([p.pixels for p in found]), numbered(n_pages), tuple(notes))


def _upright(path: Path, image: Image.Image, notes: list[str]) -> Picture:
    """The current page with its channels first, turned as EXIF says."""
    if _is_deep_colour(image):
        pixels, more = _deep_colour(path, image)
    else:
        image.load()
        pixels, more = _values(image)
    if not np.isfinite(pixels).all():
        raise UnreadableImage("holds values that are not finite (NaN or infinite)")
    if pixels.dtype.kind == "f" and pixels.min() < 0:
        raise UnreadableImage(f"holds negative values ({pixels.min():g}); expected brightness from 0 up")
    orientation = image.getexif().get(_ORIENTATION, 1)
    if orientation in _TURNS:
        pixels, more = _TURNS[orientation](pixels), [*more, "turned upright by EXIF"]
    channels = GREY if len(pixels) == 1 else RGB
    return Picture(np.ascontiguousarray(pixels), channels, (*notes, *more))


# What EXIF orientations 2 … 8 ask for, on arrays (channel, y, x).
_TURNS = {
    2: lambda x: x[:, :, ::-1],
    3: lambda x: x[:, ::-1, ::-1],
    4: lambda x: x[:, ::-1],
    5: lambda x: x.transpose(0, 2, 1),
    6: lambda x: np.rot90(x, -1, axes=(1, 2)),
    7: lambda x: x.transpose(0, 2, 1)[:, ::-1, ::-1],
    8: lambda x: np.rot90(x, 1, axes=(1, 2)),
}


def _values(image: Image.Image) -> tuple[np.ndarray, list[str]]:
    """Values of a page, channels first, and what had to be done to them."""
    mode, notes = image.mode, []
    if mode in _DEEP_GREY:
        return np.asarray(image)[None], notes
    if mode == "1":
        return np.asarray(image.convert("L"))[None], ["1-bit to black and white"]
    if mode not in ("L", "RGB", "LA", "RGBA"):
        notes.append("palette looked up" if mode in ("P", "PA") else f"{mode} to RGB")
    is_grey = _names(image) == GREY
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() == (255, 255):
            notes.append("opaque transparency dropped")
        else:
            notes.append("transparent pixels laid over black")
            over = Image.new("RGBA", image.size, "black")
            over.alpha_composite(image)
            image = over
    if is_grey and mode not in ("L", "P"):
        image = image.convert("RGB").getchannel(0)
    elif is_grey:
        image = image.convert("L")
    pixels = np.asarray(image if is_grey else image.convert("RGB"))
    return (pixels[None] if is_grey else np.moveaxis(pixels, -1, 0)), notes


def _deep_colour(path: Path, image: Image.Image) -> tuple[np.ndarray, list[str]]:
    """All 16 bits of colours, of which Pillow keeps the upper eight.

    Read once more as if bytes came in the other order, it keeps the lower eight.
    """
    page = image.tell()
    upper = np.asarray(image).astype(np.uint16)
    with Image.open(path) as swapped:
        swapped.seek(page)
        swapped.tile = [tile._replace(args=_swapped(tile.args)) for tile in swapped.tile]
        try:
            pixels = np.moveaxis((upper << 8) + np.asarray(swapped), -1, 0)
        except ValueError:
            raise UnreadableImage(f"16-bit values in a layout that is not supported ({image.mode})") from None
    if len(pixels) == 3:
        return pixels, []
    colours, alpha = pixels[:3], pixels[3]
    if (alpha == 0xFFFF).all():
        return colours, ["opaque transparency dropped"]
    over = np.rint(colours * (alpha / 0xFFFF)).astype(np.uint16)
    return over, ["transparent pixels laid over black"]


def _swapped(arguments: str | tuple) -> str | tuple:
    """The arguments of a decoder with the other order of bytes."""
    if isinstance(arguments, tuple):
        return (_swapped(arguments[0]), *arguments[1:])
    layout, _, bits = arguments.partition(";")
    return f"{layout};{_OTHER_ORDER[bits]}"


def _is_deep_colour(image: Image.Image) -> bool:
    tiles = getattr(image, "tile", [])
    arguments = tiles[0].args if tiles else ""
    layout = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return image.mode not in _DEEP_GREY and isinstance(layout, str) and ";16" in layout


def _is_stack(image: Image.Image, pages: Pages) -> bool:
    """Whether the pages of a file are channels; those of JPEG and PNG files are pictures of their own."""
    return pages == "channels" and image.format == "TIFF" and getattr(image, "n_frames", 1) > 1


def _names(image: Image.Image) -> tuple[str, ...]:
    if image.mode in ("1", "L", "LA", "La"):
        return GREY
    if image.mode in ("P", "PA"):
        colours = np.array(image.getpalette("RGB")).reshape(-1, 3)
        return GREY if (colours == colours[:, :1]).all() else RGB
    return RGB
