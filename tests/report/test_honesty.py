"""Nothing is claimed of a run whose images carry nothing."""

import datetime
import re
from pathlib import Path

import pandas as pd
import pytest
from claims import CLAIMS, plain, sentences

from covary import evaluate, publication, store
from covary.config.reading import check
from covary.publication.origin import ceiling_in_words
from covary.report import FIGURES, render

CAPTIONS = Path(__file__).parents[2] / "workflow" / "report"
GATES_OFF = {"vae": None, "generator": None}


@pytest.fixture(scope="module")
def report(tmp_path_factory, pictures):
    """A function that makes the report of a run with these tables, and with open gates."""
    folder = tmp_path_factory.mktemp("report")
    shown = pictures(folder, FIGURES)
    (folder / "evaluate.tsv").write_text("s\tmax_rss\tcpu_time\n1.0\t100\t1.0\n")

    def page(tables):
        return render(
            config=check({"association": {"noise_variances": [0, 1, 9]}, "gates": GATES_OFF}),
            channels=["grey"],
            index=pd.DataFrame({"file": ["a.png"], "status": "ok", "conversion": ""}),
            tables=tables,
            figures=shown,
            captions=CAPTIONS,
            benchmarks=folder,
            date=datetime.date(2026, 2, 3),
        )

    return page


def test_chance_is_kind_where_the_images_carry_nothing(chance):
    ceiling = evaluate.measured_ceiling(chance["association_ledger"])
    assert (ceiling["carried"] > 0).all() and (ceiling["low"] < 0).all()
    differences = chance["comparison"].query("random_effect == 'all' and noise_variance == 0")
    assert (differences["high"] < 0).all() or (differences["low"] > 0).all()
    alone = chance["visits_worth"].query("visits == 0 and predictor != 'no_image'")
    assert (alone["alone_low"] > 0).all()


def test_images_that_carry_nothing_are_worth_no_visit(empty):
    alone = empty["visits_worth"].query("visits == 0 and predictor != 'no_image'")
    assert (alone["alone_low"] == 0).all() and alone["alone_high"].between(0.001, 0.2).all()
    read = empty["generator_quality"].query("measure == 'readback_r2'")["value"]
    assert (read < 0.1).all() and (empty["counterfactuals"]["shift"].abs() < 0.2).all()


@pytest.mark.parametrize("tables", ["empty", "chance"])
def test_no_sentence_of_the_report_claims_an_association(report, tables, request):
    for sentence in sentences(report(request.getfixturevalue(tables))):
        assert not CLAIMS.search(sentence), sentence


def test_the_same_sentences_are_found_where_there_is_an_association(report, two):
    claimed = {match.group() for text in sentences(report(two)) for match in CLAIMS.finditer(text)}
    for claim in ("fit better than records of the average", "forecasts later outcomes", "higher R²"):
        assert claim in claimed
    assert any(text.startswith("Every random effect can be read") for text in claimed)
    assert {"most found", "more than half found"} & claimed or "than half found" in claimed
    assert any(re.match(r"carry \d", text) for text in claimed)


def test_the_report_says_that_the_images_carry_nothing(report, empty):
    words = plain(report(empty))
    assert "measured to carry nothing of them that can be told from chance" in words
    assert "this run shows no association between these images and these records" in words
    assert "trained on them without noise. This run shows no association." in words
    assert "The random effects can hardly be read back from them (R² of at most 0.02)." in words
    assert "no worth in visits is stated, because the images were measured to carry nothing" in words
    assert words.count("nothing to be found") == 3  # the verdict at each noise level
    assert "100 % (nothing) at σ² = 0, 50 % (nothing) at σ² = 1, 10 % (nothing) at σ² = 9." in words
    assert "cannot be said, at least 3,200 at σ² = 0, 1 and 9" in words


def test_numbers_that_chance_gives_stand_in_tables_without_a_sentence_on_them(report, chance):
    words = plain(report(chance))
    assert "predictors are not compared in words, because the images were measured to carry" in words
    assert "power: cannot be said at σ² = 0, 1 and 9." in words
    assert "of the average patient cannot be told apart at σ² = 0, 1 and 9." in words


@pytest.mark.parametrize("tables", ["empty", "chance"])
def test_the_card_says_that_the_images_carry_nothing(tables, request, tmp_path):
    dataset = tmp_path / "dataset.zarr"
    store.create(dataset, attributes={}, size_px=32, channels=["grey"], shard_subjects=8, chunk_subjects=8)
    manifest = {"groups": {}, "missing": {}, "sha256": "f" * 64}
    ceiling = evaluate.measured_ceiling(request.getfixturevalue(tables)["association_ledger"])
    card = publication.dataset_card(check({}), manifest, dataset, ceiling).replace("\u00a0", " ")
    assert "| 0 | 100 % | nothing |" in card and "| 9 | 10 % | nothing |" in card
    assert not CLAIMS.search(card) and "known degree" not in card
    assert not CLAIMS.search(ceiling_in_words(ceiling))
