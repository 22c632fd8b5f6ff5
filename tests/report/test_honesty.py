"""Nothing is claimed of a run whose images carry nothing."""

import datetime
import re
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covary import evaluate, figures, publication, store
from covary.config.reading import check
from covary.report import FIGURES, render

CLAIMS = re.compile(
    r"(?<!not shown to )fit better than (records|those) of the average|higher R²|most found|"
    r"than half found|finds|encodes|all that the image|found \d|"
    r"carry \d|subjects? (are|is) enough|detects",
)
CAPTIONS = Path(__file__).parents[2] / "workflow" / "report"


def plain(html):
    """The text without tags."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html)))


@pytest.fixture(scope="module")
def page(empty, tmp_path_factory):
    """The report of such a run."""
    folder = tmp_path_factory.mktemp("empty")
    image = np.zeros((1, 1, 8, 8), np.uint8)
    for name in FIGURES:
        figures.save(figures.reconstructions(image, image, image), folder / f"{name}.png")
    (folder / "evaluate.tsv").write_text("s\tmax_rss\tcpu_time\n1.0\t100\t1.0\n")
    return render(
        config=check({"association": {"noise_variances": [0, 1, 9]}}),
        channels=["grey"],
        index=pd.DataFrame({"file": ["a.png"], "status": "ok", "conversion": ""}),
        tables=empty,
        figures={name: folder / f"{name}.png" for name in FIGURES},
        captions=CAPTIONS,
        benchmarks=folder,
        date=datetime.date(2026, 2, 3),
    )


def test_no_sentence_of_the_report_claims_an_association(page):
    sentences = [plain(text) for text in re.findall(r"<(?:p|li)\b[^>]*>(.*?)</(?:p|li)>", page, re.S)]
    verdicts = [plain(text) for text in re.findall(r'class="verdict[^>]*>(.*?)</td>', page)]
    assert len(sentences) > 20 and len(verdicts) == 3
    for sentence in sentences + verdicts:
        assert not CLAIMS.search(sentence), sentence


def test_the_report_says_that_the_images_carry_nothing(page):
    words = plain(page)
    assert "measured to carry nothing of them that can be told from chance" in words
    assert "there is no association between these images and these records to be found" in words
    assert "There is no association to be found in this run." in words
    assert words.count("nothing to be found") == 3  # the verdict at each noise level
    assert "100 % (nothing) at σ² = 0, 50 % (nothing) at σ² = 1, 10 % (nothing) at σ² = 9." in words
    assert "cannot be said, at least 3,200 at σ² = 0, 1 and 9" in words


def test_the_card_says_that_the_images_carry_nothing(empty, tmp_path):
    dataset = tmp_path / "dataset.zarr"
    store.create(dataset, attributes={}, size_px=32, channels=["grey"], shard_subjects=8, chunk_subjects=8)
    manifest = {"groups": {}, "missing": {}, "sha256": "f" * 64}
    ceiling = evaluate.measured_ceiling(empty["association_ledger"])
    card = publication.dataset_card(check({}), manifest, dataset, ceiling).replace("\u00a0", " ")
    assert "| 0 | 100 % | nothing |" in card and "| 9 | 10 % | nothing |" in card
    assert not CLAIMS.search(card) and "known degree" not in card
