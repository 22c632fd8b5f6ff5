"""Which version of Covary laid out a folder of results."""

from pathlib import Path

from covary.errors import UserError

LAYOUT = 2  # counts up when files of a folder of results change their names or meaning
_STAMP = ".layout"


def check_layout(results: Path) -> None:
    """Raise UserError, in one line, if another version laid out the folder `results`, or if it is a file.

    A folder that does not exist, or holds nothing but hidden files, has no layout yet.
    """
    if results.is_file():
        raise UserError(f"{results} is a file, where a folder of results is expected; move or delete it")
    stamp = results / _STAMP
    if stamp.is_file():
        found = stamp.read_text(encoding="utf-8").strip()
    elif results.is_dir() and any(not path.name.startswith(".") for path in results.iterdir()):
        found = "1"
    else:
        return
    if found != str(LAYOUT):
        made_by = "version 0.1 of Covary" if found == "1" else f"a version of Covary with layout {found}"
        raise UserError(
            f"{results} was made by {made_by}, whose files this version (layout {LAYOUT}) does not read; "
            "move or delete the folder, or give the experiment another name"
        )


def stamp_layout(results: Path) -> None:
    """Write down that this version lays out the folder `results`.

    Raises UserError if nothing can be written there.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
        (results / _STAMP).write_text(f"{LAYOUT}\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"results cannot be written to the folder {results}: {error.strerror}") from None
