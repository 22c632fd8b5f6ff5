import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from covary.jobs import resources

ROOT = Path(__file__).parents[2]
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def pack(path: Path, names: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in names.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, "w:gz") as archive:
            for name, data in names.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


def table(folder: Path, **row: str) -> Path:
    columns = {
        "resource": "scans",
        "file": "scans",
        "source": "",
        "sha256": "",
        "unpack": "",
        "licence": "CC0",
    }
    pd.DataFrame([columns | row]).to_csv(folder / "sources.csv", index=False)
    return folder / "sources.csv"


def test_the_shipped_table_is_complete():
    shipped = pd.read_csv(ROOT / "resources" / "sources.csv", keep_default_na=False)
    assert list(shipped) == ["resource", "file", "source", "sha256", "unpack", "licence"]
    assert shipped["sha256"].map(len).isin([0, 64]).all()
    assert shipped["source"].str.match(r"(hub|torchvision|doi):").all()
    assert (shipped["licence"] != "").all() and shipped["file"].is_unique


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_an_archive_put_there_by_hand_is_checked_and_unpacked(tmp_path, suffix):
    (tmp_path / "downloads").mkdir()
    names = {
        "Data/OCT/train/CNV/CNV-1-1.jpeg": b"one",
        "Data/OCT/test/a.jpeg": b"two",
        "Data/Xray/b.jpeg": b"no",
    }
    archive = pack(tmp_path / "downloads" / f"scans{suffix}", names)
    digest = resources.sha256(archive)
    sources = table(tmp_path, source="doi:10.1/x", unpack="Data/OCT", sha256=digest)
    assert resources.fetch("scans", sources, tmp_path) == [
        {"file": "scans", "sha256": digest, "licence": "CC0"}
    ]
    found = {
        str(p.relative_to(tmp_path / "scans")): p.read_bytes() for p in (tmp_path / "scans").rglob("*.*")
    }
    assert found == {"train/CNV/CNV-1-1.jpeg": b"one", "test/a.jpeg": b"two"}
    with pytest.raises(ValueError, match=r"sha256 is .*, expected 00"):
        resources.fetch("scans", table(tmp_path, source="doi:10.1/x", sha256="00"), tmp_path)


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
@pytest.mark.parametrize("name", ["../evil", "OCT/../../evil", "/tmp/evil", "OCT/..\\evil", "C:/evil"])
def test_members_that_would_land_outside_are_refused(tmp_path, suffix, name):
    archive = pack(tmp_path / f"scans{suffix}", {"OCT/a.jpeg": b"", name: b""})
    with pytest.raises(ValueError, match="would land outside"):
        resources.extract(archive, "OCT", tmp_path / "scans")
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_links_are_refused(tmp_path):
    archive = tmp_path / "scans.tar"
    with tarfile.open(archive, "w") as packed:
        link = tarfile.TarInfo("OCT/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        packed.addfile(link)
    with pytest.raises(ValueError, match="OCT/link is a link or a device"):
        resources.extract(archive, "OCT", tmp_path / "scans")


def test_a_damaged_archive_is_named(tmp_path):
    for name in ("scans.zip", "scans.tar.gz"):
        (tmp_path / name).write_bytes(b"PK not an archive")
        with pytest.raises(ValueError, match=rf"{name}: not a whole archive"):
            resources.extract(tmp_path / name, "OCT", tmp_path / "scans")


def test_a_file_that_is_there_needs_no_network(tmp_path):
    (tmp_path / "weights.pth").touch()
    sources = table(tmp_path, file="weights.pth", source="torchvision:None", sha256=EMPTY_SHA256)
    assert resources.fetch("scans", sources, tmp_path)[0]["sha256"] == EMPTY_SHA256


def test_what_must_be_fetched_by_hand_is_said(tmp_path):
    with pytest.raises(
        ValueError, match=r"^scans: fetch the archive of doi:10\.1/x \(CC0\) by hand, save it as"
    ):
        resources.fetch("scans", table(tmp_path, source="doi:10.1/x"), tmp_path)
    with pytest.raises(ValueError, match=r"has no resource 'other'; it has scans"):
        resources.fetch("other", tmp_path / "sources.csv", tmp_path)


def test_without_a_network_the_message_says_where_the_file_belongs(tmp_path):
    """In a process whose requests go to a port where nobody listens."""
    sources = table(tmp_path, file="vgg.pth", source="torchvision:VGG16_Weights.IMAGENET1K_V1")
    run = subprocess.run(
        [sys.executable, "-c", "import sys, pathlib; from covary.jobs import resources; "
         "resources.fetch('scans', *map(pathlib.Path, sys.argv[1:]))", str(sources), str(tmp_path)],
        capture_output=True, text=True, check=False,
        env=os.environ | {"https_proxy": "127.0.0.1:9", "http_proxy": "127.0.0.1:9"},
    )  # fmt: skip
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "covary.errors.UserError: cannot fetch vgg.pth from torchvision:VGG16_Weights.IMAGENET1K_V1"
    )
    assert last.endswith("vgg.pth by hand and run again")
    assert not (tmp_path / "vgg.pth").exists()
