"""The report in a real browser, at the widths of a desktop, a tablet and a phone, and on paper.

Needs Chromium (`apt install chromium`) and Node; `npm install --no-package-lock` in this folder brings the
driver and axe-core, the accessibility checks. `.ci/run` does both where it can.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS_PX = (1200, 800, 400)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium"),
    pytest.mark.skipif(shutil.which("node") is None, reason="needs Node"),
    pytest.mark.skipif(
        not (HERE / "node_modules").is_dir(),
        reason="needs npm install --no-package-lock in tests/browser",
    ),
]


def opened(*pages: Path) -> dict:
    """What is wrong with each page."""
    command = ["node", HERE / "open.mjs", CHROMIUM, ",".join(map(str, WIDTHS_PX)), *pages]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_the_report_opens_without_fault(finished):
    page = finished.results / "report.html"
    found = opened(page)[str(page)]
    assert found["errors"] == [] and found["undecoded"] == [] and found["cut"] == []
    assert found["overflow"] == found["barriers"] == {str(width): [] for width in WIDTHS_PX}


def test_faults_are_found(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        "<!doctype html><html lang='en'><title>t</title><main><h1>a</h1><h4>b</h4>"
        "<p style='color:#ddd'>pale</p>"
        "<img alt='gone' src='data:image/png;base64,AAAA'><p style='width:900px'>wide</p>"
        "<div style='overflow-x:auto'><table style='width:750px'><tr><td>scrolls</td></tr></table></div>"
        "<figure><figcaption style='height:2000px'>high</figcaption></figure>"
        "<script>throw new Error('broken')</script></main></html>"
    )
    found = opened(page)[str(page)]
    assert "broken" in " ".join(found["errors"]) and found["undecoded"] == ["gone"]
    assert [len(found["overflow"][str(width)]) > 0 for width in WIDTHS_PX] == [False, True, True]
    for barriers in found["barriers"].values():
        assert {barrier.split(":")[0] for barrier in barriers} >= {"color-contrast", "heading-order"}
    tags = {what.partition(".")[0] for what in found["cut"]}
    assert tags == {"p", "div", "table", "tbody", "tr", "td", "figcaption"}
