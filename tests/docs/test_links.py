"""The link checker of the documentation finds what is dead and what is remote."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "docs" / "check_links.py"


@pytest.fixture(scope="module")
def checker():
    spec = importlib.util.spec_from_file_location("check_links", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def site(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text(
        '<h1 id="top">A</h1><a href="sub/b.html#here">b</a><a href="#top">top</a><a href="sub/">sub</a>'
        '<a href="https://example.org/x">elsewhere</a><link rel="stylesheet" href="a.css">'
        '<link rel="canonical" href="https://example.org/">'
    )
    (tmp_path / "a.css").write_text("")
    (tmp_path / "sub" / "b.html").write_text('<h2 id="here">B</h2><a href="../index.html">a</a>')
    (tmp_path / "sub" / "index.html").write_text('<a href="/index.html#top">a</a>')
    return tmp_path


def test_a_sound_site_has_no_fault(checker, site):
    assert checker.dead_links(site) == [] and checker.remote_files(site) == []


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("c.html", "c.html: there is no such file"),
        ("sub/b.html#there", "sub/b.html#there: the page has no such anchor"),
        ("#bottom", "#bottom: the page has no such anchor"),
        ("/b.html", "/b.html: there is no such file"),
    ],
)
def test_a_dead_link_is_named(checker, site, link, fault):
    with (site / "index.html").open("a") as page:
        page.write(f'<a href="{link}">dead</a>')
    assert checker.dead_links(site) == [f"index.html: {fault}"]


@pytest.mark.parametrize(
    "element",
    ['<link rel="stylesheet" href="{}">', '<script src="{}"></script>', '<img src="{}">'],
)
def test_a_remote_file_is_named(checker, site, element):
    address = "https://example.org/a.css"
    with (site / "index.html").open("a") as page:
        page.write(element.format(address))
    assert checker.remote_files(site) == [f"index.html: {address}: is fetched from a network"]
