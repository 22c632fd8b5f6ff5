"""Write an export completely or not at all."""

from collections.abc import Callable
from pathlib import Path

from covary.errors import UserError
from covary.export.huggingface import write_huggingface
from covary.export.nonmem import write_nonmem_tables
from covary.export.png import write_png
from covary.export.source import Source
from covary.files import whole

FORMATS: dict[str, Callable[[Source, Path], None]] = {
    "nonmem": write_nonmem_tables,
    "png": write_png,
    "huggingface": write_huggingface,
}


def export(results: Path, target: Path, kind: str) -> None:
    """Write the dataset of `results/<experiment>` to the new folder `target` in one of `FORMATS`.

    Raises UserError if there is no such format or the experiment is not finished, FileExistsError if the
    folder exists.
    """
    if kind not in FORMATS:
        raise UserError(f"export: the format must be one of {', '.join(FORMATS)}, got {kind!r}")
    if target.exists():
        raise FileExistsError(f"{target}: exists already; choose another folder for the export")
    source = Source.open(results)
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole(target) as partial:
        partial.mkdir()
        FORMATS[kind](source, partial)
