"""Read any image file as 8-bit grey."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image


class UnreadableImage(ValueError):
    """A file that is not a whole image of a known kind; the message says why."""


def read_grey(path: Path) -> tuple[UInt8[np.ndarray, "height width"], str]:
    """Decode a whole image file to 8-bit grey, and name the conversion this took (empty: none).

    16-bit values v become v/257; colour becomes ITU-R 601 luma; transparent pixels are laid over black; of
    several frames the first is taken. Raises UnreadableImage if the file cannot be decoded to its end.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return _to_grey(image)
    except (MemoryError, UnreadableImage):
        raise
    except Exception as error:  # on damaged bytes a decoder may raise nearly anything
        raise UnreadableImage(f"{type(error).__name__}: {error}") from None


def _to_grey(image: Image.Image) -> tuple[np.ndarray, str]:
    mode = image.mode
    kind = ""
    if mode in ("I;16", "I;16L", "I;16B", "I;16N"):
        kind = "16-bit grey"
        grey = ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif mode in ("I", "F"):
        raise UnreadableImage(f"32-bit pixels (mode {mode}) have no fixed white; expected 8 or 16 bits")
    elif mode == "1":
        kind = "1-bit"
        grey = np.asarray(image.convert("L"))
    elif image.has_transparency_data:
        kind = "transparent"
        over = Image.new("RGBA", image.size, "black")
        over.alpha_composite(image.convert("RGBA"))
        grey = np.asarray(over.convert("L"))
    elif mode != "L":
        kind = "colour"
        grey = np.asarray(image.convert("RGB").convert("L"))
    else:
        grey = np.asarray(image)
    if getattr(image, "n_frames", 1) > 1:
        kind = f"{kind}, several frames" if kind else "several frames"
    return grey, kind
