"""The part of the report about sites says what the tables show, and is left out where there are no sites."""

import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covary import figures, rng
from covary.config.dataset import Subjects
from covary.config.reading import check
from covary.config.sites import Sites
from covary.dataset.latents import Latents
from covary.dataset.sites import case_mix_of
from covary.dataset.subjects import members, sample
from covary.evaluate.site_methods import LevelAtSites, site_tables
from covary.report import FIGURES, render, sites

CAPTIONS = Path(__file__).parents[2] / "workflow" / "report"
CONFIG = Sites(seen=4, unseen=3, unseen_subjects=240)
LATENTS = Latents(np.arange(2), np.ones(2))


def tables(gain=0.3):
    """`plain` knows eta, with an error; `armed` also knows the site, and errs less by `gain` at new sites."""
    subjects = sample(LATENTS, Subjects(train=20, validation=4, test=400), CONFIG, seed=1)
    eta, shift = subjects["eta"].values.astype(float), case_mix_of(subjects)
    error = rng.normal(1, "error", 0, len(eta), (2,))
    level = LevelAtSites(0.0, subjects, eta + shift)
    seen, unseen = (members(subjects, split) for split in ("test", "test_unseen"))
    for name, effects, known, share in (
        ("plain", "none", 0.0, 0.6),
        ("armed", "variational", 1.0, 0.6 - gain),
    ):
        at_seen = np.stack([eta[seen] + 0.6 * error[seen], eta[seen] + known * shift[seen]])
        at_unseen = np.stack([eta[unseen] + share * error[unseen]] * 2)
        true = subjects["site_case_mix"].values[:4]
        level.add(name, effects, {
            "seen": at_seen, "unseen": at_unseen, "unseen_by": np.array("fixed"),
            "adversary_weight": np.array(1.0), "weight_decay": np.array(0.0), "site_found": np.array(0.26),
            "reliance": np.array(1.5), "at_sites": np.zeros((7, 5, 2)), "home": np.zeros((5, 2)),
            "moved": np.full((5, 2), 0.25), "intercepts": true, "intercepts_sd": 0.1 + 0 * true,
        })  # fmt: skip
    named = zip(("sites", "sites_comparison", "site_methods"), site_tables([level], seed=1, resamples=200),
                strict=True)  # fmt: skip
    return {name: table.reset_index(drop=True) for name, table in named}


def test_the_ideal_prediction_at_known_sites_reaches_the_most_and_site_effects_come_back():
    made = tables()
    row = made["sites"].query("method == 'armed' and part == 'seen' and site == 'all'").iloc[0]
    assert row["r2"] == pytest.approx(1.0) and row["fraction_of_max"] == pytest.approx(1.0)
    about = made["site_methods"].set_index("method").loc["armed"]
    assert about["correlation"] == pytest.approx(1.0) and about["coverage"] == 1.0
    assert about["change"] == pytest.approx(0.25) and about["inter_site_sd"] == 0


CEILING = pd.DataFrame({"noise_variance": [0.0], "low": [0.5]})


def words(made, ceiling=CEILING, *, with_mark=True):
    return sites.sentences(made, ceiling, with_mark=with_mark)


def test_words_follow_the_intervals():
    text = " ".join(words(tables()))
    assert "At new sites: ARMED finds more than ignoring sites at σ²\u00a0=\u00a00 (R² by" in text
    assert "for new sites, take ARMED" in text and "ignoring sites 26\u00a0%" in text
    chance = tables()
    chance["sites"]["low"] = -0.01
    assert "finds nothing that can be told from chance at the sites" in words(chance)[0]
    worse = " ".join(words(tables(gain=-0.4)))
    assert "At new sites: ignoring sites finds more than ARMED" in worse
    assert "do not use ARMED at new sites" in worse
    same = " ".join(words(tables(gain=0.0)))
    assert "At new sites: ARMED and ignoring sites cannot be told apart" in same
    assert "no method is shown to differ" in same and "does not show that they are alike" in same
    assert "differences in R² reach from −0" in same or "differences in R² reach from 0.00" in same
    assert "What to do" not in same and "simplest" not in same


def test_a_method_that_knows_the_outcome_of_test_subjects_is_called_a_control_and_never_advised():
    made = {name: table.replace({"method": {"armed": "combat_target"}}) for name, table in tables().items()}
    text = " ".join(sites.sentences(made, CEILING, with_mark=True, controls=["combat_target"]))
    assert "ComBat given outcomes finds more than ignoring sites" in text
    assert (
        "“ComBat given outcomes” uses the outcome of test subjects" in text and "optimistic control" in text
    )
    assert "take ComBat" not in text and "that of ComBat" not in text


def test_where_images_carry_nothing_no_method_is_praised_and_without_a_mark_none_is_spoken_of():
    text = " ".join(words(tables(), CEILING.assign(low=-0.1), with_mark=False))
    assert "finds more" not in text and "take ARMED" not in text and "mark" not in text
    assert "At σ²\u00a0=\u00a00 methods are not compared" in text


def test_the_part_stands_in_the_report_of_a_run_with_sites_alone(good, pictures, tmp_path):
    shown = pictures(tmp_path, (*FIGURES, *sites.FIGURES))
    (tmp_path / "evaluate.tsv").write_text(
        "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
        "83.4\t0:01:23\t2048\t1\t1\t1\t0\t0\t9\t80.0\n"
    )

    def page(config, more):
        return render(
            config=check(config), channels=["grey"], captions=CAPTIONS, benchmarks=tmp_path,
            index=pd.DataFrame({"file": ["a.png"], "status": "ok", "conversion": ""}), tables=good | more,
            figures=shown,
            date=datetime.date(2026, 2, 3),
        )  # fmt: skip

    assert 'id="sites"' not in page({}, {})
    made = tables()
    html = page({"sites": {"seen": 4, "unseen": 3}}, made)
    assert 'id="sites"' in html and "Does it hold at other sites?" in html
    known = made["sites"].query("method == 'plain' and part == 'unseen' and site == 'all'").iloc[0]
    assert f"{known['r2']:.3f}" in html


def test_figures_show_every_site_and_the_most():
    made = tables()["sites"]
    (axis,) = figures.sites(made).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["ignoring sites", "ARMED"]
    broken = [line.get_xdata()[0] for line in axis.lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(sorted(broken), sorted(made["theoretical_max"].dropna().unique()))
    pixels = np.zeros((7, 2, 1, 8, 8), np.uint8)
    assert len(figures.at_sites(pixels[0], pixels, 4).axes) == 2 * 8
