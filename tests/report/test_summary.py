import pytest

from covary.config.reading import check
from covary.report import concerns, paragraph, verdicts

CONFIG = check(
    {
        "images": {"source": "folder", "folder": "x", "size_px": 64},
        "subjects": {"train": 3200, "validation": 400, "test": 2400},
        "longitudinal": {
            "residual": {"error": "additive", "sd": 0.01},
            "last_time_h": 10.0,
            "interval_h": 0.5,
        },
    }
)


def plain(text):
    return text.replace("\u00a0", " ")


def words(tables):
    return paragraph(CONFIG, ["red", "green", "blue"], tables["random_effects"], tables["longitudinal_nll"])


def worries(tables, config=CONFIG):
    names = ("random_effects", "longitudinal_nll", "latent_ranking", "calibration", "privacy")
    return [plain(note) for note in concerns(config, *(tables[name] for name in names))]


def with_effects(tables, **columns):
    """The tables, with other values where random effects are predicted from images at σ² = 9."""
    effects = tables["random_effects"].copy()
    last = effects.index[(effects["noise_variance"] == 9) & effects["theoretical_max"].notna()]
    effects.loc[last, list(columns)] = list(columns.values())
    return tables | {"random_effects": effects}


def test_paragraph_states_the_numbers_of_the_tables(good):
    text = plain(words(good))
    effects = good["random_effects"].query("random_effect == 'all'")
    table = effects[effects["theoretical_max"].notna()]
    for row in table.itertuples():
        assert f"{100 * row.r2:.1f} %" in text and f"σ² = {row.noise_variance:g}" in text
    assert f"95 % interval {100 * table.r2_low.iloc[0]:.1f} % to {100 * table.r2_high.iloc[0]:.1f} %" in text
    assert "6,000 synthetic subjects" in text and "64 × 64 pixels" in text
    assert "fit better than those of the average subject at every noise level" in text


def test_a_good_run_gives_no_cause_for_concern(good):
    assert worries(good) == []
    found = verdicts(good["random_effects"])
    assert len(found) == 3 and not found["poor"].any()


def test_a_blind_predictor_is_called_blind(blind):
    assert verdicts(blind["random_effects"])["verdict"].tolist() == ["no signal found"] * 3
    assert verdicts(blind["random_effects"])["poor"].all()
    notes = worries(blind)
    assert any(n.startswith("At σ² = 0, 1 and 9, network found no signal") for n in notes)
    assert any(n.startswith("At σ² = 0, 1 and 9, outcomes predicted by network fit no better") for n in notes)
    assert "fit no better than the average subject" in words(blind)


@pytest.mark.parametrize(
    "fraction, verdict, poor",
    [(0.3, "less than half found", True), (0.6, "more than half found", False), (0.9, "most found", False)],
)
def test_verdicts(good, fraction, verdict, poor):
    table = good["random_effects"].assign(
        r2=fraction, r2_low=fraction, r2_high=fraction, fraction_of_max=fraction
    )
    assert set(verdicts(table)["verdict"]) == {verdict}
    assert set(verdicts(table)["poor"]) == {poor}


def test_little_found_is_said_with_the_shares(good):
    tables = with_effects(good, r2=0.032, r2_low=0.02, r2_high=0.04, fraction_of_max=0.32)
    assert worries(tables) == ["At σ² = 9, network found less than half of what can be found (32.0 %)."]


def test_more_than_can_be_found_is_called_a_leak(good):
    tables = with_effects(good, r2=0.9, r2_low=0.89, r2_high=0.91, fraction_of_max=9.0)
    notes = " ".join(worries(tables))
    assert "At σ² = 9, R² of network lies above the theoretical maximum" in notes
    assert "rises from σ² = 1 to σ² = 9; it should fall" in notes


def test_a_simulator_that_disagrees_is_reported(good):
    nll = good["longitudinal_nll"].copy()
    nll.loc[(nll["noise_variance"] == 0) & (nll["population"] == "true"), "nll"] += 1.5
    (note,) = worries(good | {"longitudinal_nll": nll})
    assert "it should be -66.9" in note


def test_a_random_effect_that_images_do_not_show_is_reported(good):
    weak = good["latent_ranking"].assign(readback_r2=[0.3, 0.0, 0.9, 0.8])
    (note,) = worries(good | {"latent_ranking": weak})
    assert note.startswith("Random effect η3 (latent 0) can hardly be read back") and "R² is 0.30" in note


def test_intervals_that_do_not_hold_what_they_promise_are_reported(good):
    calibration = good["calibration"].copy()
    rows = (calibration["level"] == 0.95) & (calibration["noise_variance"] == 1)
    calibration.loc[rows, ["coverage", "low", "high"]] = 0.88, 0.87, 0.89
    (note,) = worries(good | {"calibration": calibration})
    assert note == "At σ² = 1, the 95 % intervals of network are too narrow: they hold 88.0 % of η̂."


def test_phantoms_are_named_as_such(good):
    (note,) = worries(good, check({}))
    assert "drawn phantoms of OCT scans, not from patients" in note


def test_each_predictor_has_its_sentence(two):
    text = words(two)
    assert "from images only, linear found" in text and " resnet18 found" in text
    assert "outcomes simulated from what linear and resnet18 found fit better than" in text
    assert verdicts(two["random_effects"])["predictor"].tolist() == ["linear", "resnet18"] * 3
