"""Find links of a built site that lead nowhere, and files that its pages would fetch from a network."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_FETCHED = {"link": "href", "script": "src", "img": "src", "source": "src", "iframe": "src"}
# A <link> of these kinds says something about the page and is not fetched.
_NOT_FETCHED = {"canonical", "prev", "next", "alternate"}


class _Page(HTMLParser):
    """The links, the anchors and the fetched files of one HTML page."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element links to, is called and needs."""
        values = {name: value for name, value in attrs if value}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if values.get("rel") not in _NOT_FETCHED and _FETCHED.get(tag) in values:
            self.fetched.append(values[_FETCHED[tag]])


def dead_links(site: Path) -> list[str]:
    """One line for each link between files of the site whose file or anchor does not exist."""
    pages = _pages(site)
    faults = []
    for file, page in pages.items():
        for link in dict.fromkeys([*page.links, *page.fetched]):
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            path = unquote(address.path)
            base = site if path.startswith("/") else file.parent
            target = (base / path.lstrip("/")).resolve() if path else file
            if target.is_dir():
                target = target / "index.html"
            anchor = unquote(address.fragment)
            if not target.is_file():
                faults.append(f"{file.relative_to(site)}: {link}: there is no such file")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                faults.append(f"{file.relative_to(site)}: {link}: the page has no such anchor")
    return faults


def remote_files(site: Path) -> list[str]:
    """One line for each style sheet, script, picture or frame that a page would fetch from a network."""
    return [
        f"{file.relative_to(site)}: {address}: is fetched from a network"
        for file, page in _pages(site).items()
        for address in page.fetched
        if urlsplit(address).netloc
    ]


def _pages(site: Path) -> dict[Path, _Page]:
    files = sorted(site.resolve().rglob("*.html"))
    return {file: _Page(file.read_text(encoding="utf-8")) for file in files}
