"""Files and folders that appear whole or not at all, and lie on the disk before anything says so."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path to write a file or a folder at. It becomes `path` when the block ends.

    Until then, and if the block raises, `path` is what it was. A folder is replaced only if it is empty.
    Several processes may do this at once; the last one wins.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        publish(partial, path)
    finally:  # nothing is there any more unless the block raised
        if partial.is_dir():
            shutil.rmtree(partial)
        partial.unlink(missing_ok=True)


def publish(partial: Path, path: Path) -> None:
    """Give a finished file or folder its name, once its bytes are on the disk."""
    flush(partial)
    partial.replace(path)


def flush(path: Path) -> None:
    """Have the kernel write a file, or all files in a folder, to the disk."""
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def user_cache() -> Path:
    """The folder in which Covary keeps what it can make again, for all of this user's processes."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "covary"
