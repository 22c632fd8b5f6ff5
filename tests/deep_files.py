"""Image files that Pillow itself does not write: 16 bits for each of several channels."""

import struct
import zlib
from pathlib import Path

import numpy as np

_COLOUR_TYPE = {2: 4, 3: 2, 4: 6}  # of PNG: grey and alpha, colours, colours and alpha


def write_png_16(path: Path, pixels: np.ndarray) -> None:
    """A PNG file of uint16 values (y, x, channel)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPE[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    data = zlib.compress(rows)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def write_tiff_16(path: Path, pixels: np.ndarray, order: str = "<", deflate: bool = False) -> None:
    """A TIFF file of uint16 colours (y, x, 3) with bytes in the given order."""
    height, width, channels = pixels.shape
    data = pixels.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if deflate else data
    n_tags = 9
    bits_at = 8 + 2 + 12 * n_tags + 4
    tags = [
        (256, 4, width), (257, 4, height), (258, 3, bits_at), (259, 3, 8 if deflate else 1), (262, 3, 2),
        (273, 4, bits_at + 2 * channels), (277, 3, channels), (278, 4, height), (279, 4, len(data)),
    ]  # fmt: skip
    entries = b""
    for tag, kind, value in tags:
        count = channels if tag == 258 else 1
        is_short = kind == 3 and count == 1
        entries += struct.pack(f"{order}HHI", tag, kind, count)
        entries += struct.pack(f"{order}HH", value, 0) if is_short else struct.pack(f"{order}I", value)
    path.write_bytes(
        (b"II*\0" if order == "<" else b"MM\0*")
        + struct.pack(f"{order}IH", 8, n_tags) + entries + struct.pack(f"{order}I", 0)
        + struct.pack(f"{order}{channels}H", *[16] * channels) + data
    )  # fmt: skip
