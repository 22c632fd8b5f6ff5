"""Build the documentation site: `make docs`.

The site has the hand-written pages in docs/pages, copies of the repository's own pages, and an API reference
with one page per room of the package. The result, build/site, is read without a network.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from check_links import dead_links, remote_files

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
PACKAGE = ROOT / "workflow" / "src" / "covary"

# Pages that live elsewhere in the repository, and where the site has them.
COPIES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "workflow/README.md": "explanation/architecture.md",
    "benchmarks/README.md": "explanation/benchmarks.md",
    "config/README.md": "reference/configuration.md",
}


def write_pages(pages: Path) -> None:
    """Gather the hand-written pages, the copies and the pictures that they show in the new folder `pages`."""
    shutil.copytree(ROOT / "docs" / "pages", pages)
    for source, target in COPIES.items():
        page = pages / target
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(
            _with_pictures((ROOT / source).read_text(encoding="utf-8"), source, page), encoding="utf-8"
        )


def write_reference(pages: Path) -> list[dict[str, str]]:
    """Write one page per room and one for all single modules. Return their entries in `nav`."""
    folder = pages / "reference" / "api"
    folder.mkdir(parents=True)
    rooms = sorted(init.parent.name for init in PACKAGE.glob("*/__init__.py"))
    modules = sorted(path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("_"))
    for room in rooms:
        (folder / f"{room}.md").write_text(f"# covary.{room}\n\n::: covary.{room}\n", encoding="utf-8")
    text = "".join(f"::: covary.{module}\n\n" for module in modules)
    (folder / "modules.md").write_text(f"# Single modules\n\n{text}", encoding="utf-8")
    entries = [{f"covary.{room}": f"reference/api/{room}.md"} for room in rooms]
    return [*entries, {"Single modules": "reference/api/modules.md"}]


def _with_pictures(text: str, source: str, page: Path) -> str:
    """The text of a copied page. Its pictures are copied beside it."""

    def copied(match: re.Match) -> str:
        picture = (ROOT / source).parent / match["path"]
        shutil.copy(picture, page.parent)
        return f"![{match['title']}]({picture.name})"

    return re.sub(r"!\[(?P<title>[^]]*)\]\((?P<path>[^):]+)\)", copied, text)


def main() -> int:
    """Build the site and check its links. Return the exit status: 1 if a link is dead or a file is remote."""
    shutil.rmtree(BUILD, ignore_errors=True)
    write_pages(BUILD / "pages")
    settings = yaml.safe_load((ROOT / "docs" / "mkdocs.yml").read_text(encoding="utf-8"))
    (reference,) = (part["Reference"] for part in settings["nav"] if "Reference" in part)
    reference.append({"Python interface": write_reference(BUILD / "pages")})
    configuration = BUILD / "mkdocs.yml"
    configuration.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8")
    zensical = Path(sys.executable).with_name("zensical")
    subprocess.run([zensical, "build", "--strict", "--config-file", configuration], check=True)
    site = BUILD / "site"
    faults = [*dead_links(site), *remote_files(site)]
    for fault in faults:
        print(fault)
    print(f"Documentation: {site / 'index.html'}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
