"""The files of a user's folder of images: which there are, and whether any was added, replaced or removed."""

import hashlib
import os
from pathlib import Path

# Files that describe a folder of images. They are no images and nobody misses them.
COMPANIONS = (".csv", ".json", ".md", ".parquet", ".toml", ".txt", ".xml", ".yaml", ".yml")


def listed_files(folder: Path) -> list[str]:
    """Every file below a folder that may be meant as an image, as a path in the folder, sorted.

    Hidden files and folders, and texts and tables that describe images, do not count.
    """
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = Path(parent).relative_to(folder)
        found += [
            (relative / name).as_posix()
            for name in names
            if not name.startswith(".") and not name.lower().endswith(COMPANIONS)
        ]
    return sorted(found)


def digest_of_files(folder: Path) -> str:
    """Hash of the names, sizes and times of modification of these files; their content is not read."""
    digest = hashlib.sha256()
    for file in listed_files(folder):
        try:
            stat = (folder / file).stat()
        except FileNotFoundError:  # a link to a file that does not exist, or a file that went just now
            digest.update(f"{file}\0\n".encode(errors="surrogateescape"))
            continue
        digest.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
