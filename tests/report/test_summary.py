import pytest

from covary.config import check
from covary.report import concerns, paragraph, verdicts

CONFIG = check(
    {
        "images": {"source": "folder", "folder": "x", "size_px": 64},
        "subjects": {"train": 3200, "validation": 400, "test": 2400},
        "longitudinal": {"residual_sd": 0.01, "last_time_h": 10.0, "interval_h": 0.5},
    }
)


def plain(text):
    return text.replace("\u00a0", " ")


def test_paragraph_states_the_numbers_of_the_tables(good):
    text = plain(paragraph(CONFIG, *good))
    table = good[0][good[0]["theoretical_max"].notna()]
    for row in table.itertuples():
        assert f"{100 * row.r2:.1f} %" in text and f"σ² = {row.noise_variance:g}" in text
    assert f"95 % interval {100 * table.r2_low.iloc[0]:.1f} % to {100 * table.r2_high.iloc[0]:.1f} %" in text
    assert "6,000 synthetic subjects" in text and "64 × 64 pixels" in text
    assert "fit better than those of the average subject at every noise level" in text


def test_a_good_run_gives_no_cause_for_concern(good, ranking):
    assert concerns(CONFIG, *good, ranking) == []
    assert not verdicts(good[0])["poor"].any()


def test_a_blind_predictor_is_called_blind(blind, ranking):
    assert verdicts(blind[0])["verdict"].tolist() == ["no signal found"] * 3
    assert verdicts(blind[0])["poor"].all()
    notes = [plain(note) for note in concerns(CONFIG, *blind, ranking)]
    assert any(n.startswith("At σ² = 0, 1 and 9, the predictor found no signal") for n in notes)
    assert any(
        n.startswith("At σ² = 0, 1 and 9, outcomes predicted by the predictor fit no better") for n in notes
    )
    assert "fit no better than the average subject" in paragraph(CONFIG, *blind)


@pytest.mark.parametrize(
    "fraction, verdict, poor",
    [(0.3, "less than half found", True), (0.6, "more than half found", False), (0.9, "most found", False)],
)
def test_verdicts(good, fraction, verdict, poor):
    table = good[0].assign(r2=fraction, r2_low=fraction, r2_high=fraction, fraction_of_max=fraction)
    assert set(verdicts(table)["verdict"]) == {verdict}
    assert set(verdicts(table)["poor"]) == {poor}


def test_little_found_is_said_with_the_shares(good, ranking):
    table = good[0].copy()
    last = table.index[(table["noise_variance"] == 9) & table["theoretical_max"].notna()]
    table.loc[last, ["r2", "r2_low", "r2_high", "fraction_of_max"]] = 0.032, 0.02, 0.04, 0.32
    notes = [plain(note) for note in concerns(CONFIG, table, good[1], ranking)]
    assert notes == ["At σ² = 9, the predictor found less than half of what can be found (32.0 %)."]


def test_more_than_can_be_found_is_called_a_leak(good, ranking):
    table = good[0].copy()
    last = table.index[(table["noise_variance"] == 9) & table["theoretical_max"].notna()]
    table.loc[last, ["r2", "r2_low", "r2_high", "fraction_of_max"]] = 0.9, 0.89, 0.91, 9.0
    notes = " ".join(plain(note) for note in concerns(CONFIG, table, good[1], ranking))
    assert "At σ² = 9, R² of the predictor lies above the theoretical maximum" in notes
    assert "rises from σ² = 1 to σ² = 9; it should fall" in notes


def test_a_simulator_that_disagrees_is_reported(good, ranking):
    nll = good[1].copy()
    nll.loc[(nll["noise_variance"] == 0) & (nll["population"] == "true"), "nll"] += 1.5
    (note,) = concerns(CONFIG, good[0], nll, ranking)
    assert "it should be -66.9" in note


def test_a_random_effect_that_images_do_not_show_is_reported(good, ranking):
    (note,) = concerns(CONFIG, *good, ranking.assign(readback_r2=[0.3, 0.0, 0.9, 0.8]))
    assert note.startswith("Random effect η3 (latent 0) can hardly be read back") and "R² is 0.30" in note


def test_phantoms_are_named_as_such(good, ranking):
    (note,) = concerns(check({}), *good, ranking)
    assert "drawn phantoms of OCT scans, not from patients" in note


def test_each_predictor_has_its_sentence(two):
    text = paragraph(CONFIG, *two)
    assert "from images only, linear found" in text and " resnet18 found" in text
    assert "outcomes simulated from what linear and resnet18 found fit better than" in text
    assert verdicts(two[0])["predictor"].tolist() == ["linear", "resnet18"] * 3
