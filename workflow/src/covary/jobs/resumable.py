"""Arrays that are written row by row, and of which a killed job loses little."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from covary.files import publish, whole


class RowWriter:
    """Appends rows to the .npy file `path`, which has its name only once it is finished.

    Until then it is `partial`. With `rows` > 0 the first so many rows of an earlier `partial` are kept.
    """

    def __init__(
        self, path: Path, partial: Path, row_shape: tuple[int, ...], dtype: np.dtype | type, rows: int = 0
    ):
        self.rows = rows
        self._path, self._partial = path, partial
        self._row_shape, self._dtype = row_shape, np.dtype(dtype)
        self._path.unlink(missing_ok=True)
        self._file = self._partial.open("r+b" if rows else "w+b")
        self._file.seek(0)
        self._write_header()
        row_bytes = int(np.prod(row_shape)) * self._dtype.itemsize
        self._file.seek(self._file.tell() + rows * row_bytes)
        self._file.truncate()

    def append(self, row: np.ndarray) -> None:
        """Write one row. Raises ValueError if it has another shape or type."""
        if row.shape != self._row_shape or row.dtype != self._dtype:
            raise ValueError(
                f"{self._path.name}: rows are {self._dtype}{list(self._row_shape)}, "
                f"got {row.dtype}{list(row.shape)}"
            )
        self._file.write(np.ascontiguousarray(row).tobytes())
        self.rows += 1

    def sync(self) -> None:
        """Let what was written survive a kill."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Put the number of rows into the header and give the file its name."""
        self._file.seek(0)
        self._write_header()
        self._file.close()
        publish(self._partial, self._path)

    def close(self) -> None:
        """Leave the file as it is."""
        self._file.close()

    def _write_header(self) -> None:
        # NumPy pads the header so that the length of the first axis can be rewritten in place.
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (self.rows, *self._row_shape),
            },
        )


class Journal:
    """What a job has done so far, replaced on disk as a whole; one with another identity does not count."""

    def __init__(self, path: Path, identity: str):
        self._path, self._identity = path, identity

    def read(self) -> list[Any]:
        """The entries of an earlier run of the same job, or []."""
        try:
            state = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return state["entries"] if state.get("identity") == self._identity else []

    def write(self, entries: list[Any]) -> None:
        """Replace the entries on disk."""
        with whole(self._path) as partial:
            partial.write_text(json.dumps({"identity": self._identity, "entries": entries}), encoding="utf-8")


def identity(parts: Iterable[str]) -> str:
    """Digest of all that decides the outcome of a job."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()
