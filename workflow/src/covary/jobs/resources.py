"""Inputs from elsewhere: data sets and weights, checked against the table `resources/sources.csv`.

The table has one row per file: resource, file (where it belongs, below `resources/`), source, sha256 (empty
where none is known), unpack (for an archive: the folder in it that becomes `file`) and licence. A source is
`hub:<id>`, a repository on the Hugging Face hub, in which the file has the path that follows the repository's
name in `file`; `torchvision:<weights>`; or `doi:<name>`, a record whose archive one fetches by hand.
"""

import hashlib
import logging
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

import pandas as pd

from covary.errors import UserError
from covary.files import whole

log = logging.getLogger(__name__)

_ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar")


def fetch(resource: str, table: Path, folder: Path) -> list[dict[str, str]]:
    """Bring all files of a resource below `folder`, check them, unpack archives.

    Files that are there already are checked and not fetched again. Returns file, sha256 and licence of each.
    Raises UserError naming the file if the resource is unknown, a file cannot be fetched, or its digest is
    not that of the table.
    """
    sources = pd.read_csv(table, dtype=str, keep_default_na=False)
    rows = sources[sources["resource"] == resource]
    if rows.empty:
        known = ", ".join(sources["resource"].unique())
        raise UserError(f"{table} has no resource {resource!r}; it has {known}")
    return [
        {"file": row.file, "sha256": _fetch_row(row, folder), "licence": row.licence}
        for row in rows.itertuples()
    ]


def extract(archive: Path, inner: str, target: Path) -> None:
    """Unpack the folder `inner` of a zip or tar archive as `target`, which appears whole or not at all.

    Raises UserError, before anything is written, if a member would land outside or is a link or a device,
    and if nothing lies below `inner`.
    """
    opener = _unpack_zip if archive.name.endswith(".zip") else _unpack_tar
    try:
        with whole(target) as partial:
            opener(archive, PurePosixPath(inner), partial)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise UserError(f"{archive}: not a whole archive: {error}") from None


def sha256(path: Path) -> str:
    """Digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch_row(row, folder: Path) -> str:
    target = folder / row.file
    kind, _, name = row.source.partition(":")
    if kind == "doi":
        return _unpack_by_hand(row, folder, target)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            {"hub": _from_hub, "torchvision": _from_torchvision}[kind](name, target)
        except KeyError:
            raise UserError(
                f"{row.file}: source must be hub:, torchvision: or doi:, got {row.source}"
            ) from None
        except Exception as error:  # whatever a client raises without a network
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"cannot fetch {row.file} from {row.source} ({type(error).__name__}: {reason}); without a "
                f"network, put the file at {target} by hand and run again"
            ) from None
    return _checked(target, row)


def _unpack_by_hand(row, folder: Path, target: Path) -> str:
    found = [folder / "downloads" / f"{row.resource}{suffix}" for suffix in _ARCHIVES]
    archive = next((path for path in found if path.exists()), None)
    if archive is None:
        raise UserError(
            f"{row.resource}: fetch the archive of {row.source} ({row.licence}) by hand, save it as "
            f"{found[0]} (or with {', '.join(_ARCHIVES[1:])}) and run again"
        )
    digest = _checked(archive, row)
    if not target.exists():
        extract(archive, row.unpack, target)
    return digest


def _checked(path: Path, row) -> str:
    digest = sha256(path)
    if not row.sha256:
        log.warning("%s: no digest is known to compare with; its sha256 is %s", path, digest)
    elif digest != row.sha256:
        raise UserError(
            f"{path}: sha256 is {digest}, expected {row.sha256}; delete the file to fetch it again"
        )
    return digest


def _from_hub(name: str, target: Path) -> None:
    from huggingface_hub import hf_hub_download

    repository = name.rpartition("/")[2]
    root = next(parent for parent in target.parents if parent.name == repository)
    hf_hub_download(name, target.relative_to(root).as_posix(), local_dir=root)


def _from_torchvision(name: str, target: Path) -> None:
    import torch
    from torchvision.models import get_weight

    torch.hub.download_url_to_file(get_weight(name).url, str(target))


def _unpack_zip(archive: Path, inner: PurePosixPath, target: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        members = [member for member in packed.infolist() if not member.is_dir()]
        for member in members:
            if stat.S_ISLNK(member.external_attr >> 16):
                raise UserError(f"{archive}: {member.filename} is a link")
        names = {member.filename: member for member in members}
        _unpack(archive, names, inner, target, packed.open)


def _unpack_tar(archive: Path, inner: PurePosixPath, target: Path) -> None:
    with tarfile.open(archive) as packed:
        members = [member for member in packed if not member.isdir()]
        for member in members:
            if not member.isfile():
                raise UserError(f"{archive}: {member.name} is a link or a device")
        _unpack(archive, {member.name: member for member in members}, inner, target, packed.extractfile)


def _unpack(
    archive: Path, members: dict, inner: PurePosixPath, target: Path, read: Callable[..., IO[bytes]]
) -> None:
    paths = {}
    for name in members:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in path.parts[0]:
            raise UserError(f"{archive}: {name} would land outside {target}")
        if path.is_relative_to(inner):
            paths[name] = path.relative_to(inner)
    if not paths:
        raise UserError(f"{archive}: holds nothing below {inner}/")
    for name, path in paths.items():
        out = target / path
        out.parent.mkdir(parents=True, exist_ok=True)
        with read(members[name]) as packed, out.open("wb") as file:
            shutil.copyfileobj(packed, file)
