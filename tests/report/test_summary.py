import pandas as pd
import pytest

from covary.config.reading import check
from covary.report import concerns, sentences, verdicts
from covary.report.summary import stains_in_words

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
    parts = sentences(
        CONFIG, ["red", "green", "blue"], tables["association_ledger"], tables["longitudinal_nll"]
    )
    assert len(parts) == 3
    return plain(" ".join(parts))


def worries(tables, config=CONFIG):
    index = pd.DataFrame({"file": ["a.png"], "status": "ok", "conversion": ""})
    return [plain(note) for note in concerns(config, index, tables)]


def with_effects(tables, **columns):
    """The tables, with other values where random effects are predicted from images at σ² = 9."""
    effects = tables["random_effects"].copy()
    last = effects.index[(effects["noise_variance"] == 9) & effects["theoretical_max"].notna()]
    effects.loc[last, list(columns)] = list(columns.values())
    return tables | {"random_effects": effects}


def with_found(tables, share):
    """The tables, with `share` of what images carry found at σ² = 9."""
    ledger = tables["association_ledger"].copy()
    pooled = (ledger["noise_variance"] == 9) & (ledger["random_effect"] == "all")
    carried = 0.1 - ledger.loc[pooled & (ledger["part"] == "lost_in_image"), "value"].item()
    rows = pooled & (ledger["part"] == "reached")
    ledger.loc[rows, ["value", "low", "high"]] = [share * carried * f for f in (1, 0.9, 1.1)]
    return tables | {"association_ledger": ledger}


def test_three_sentences_state_the_numbers_of_the_tables(good):
    text = words(good)
    table = verdicts(good["association_ledger"])
    first, last = table.iloc[0], table.iloc[-1]
    assert "By design an image shows 100 % to 10 % of the hidden traits (random effects)" in text
    assert f"measured to carry {100 * first.carried:.3g} % to {100 * last.carried:.2g} %" in text
    assert f"network found {100 * first.found:.3g} % (95 % interval {100 * first.found_low:.3g} %" in text
    assert f"to {100 * last.found:.2g} % (95 % interval" in text
    assert "6,000 synthetic patients" in text and "64 × 64 pixels" in text
    assert "fit better than records of the average patient at σ² = 0, 1 and 9." in text


def test_a_good_run_gives_no_cause_for_concern(good):
    assert worries(good) == []
    found = verdicts(good["association_ledger"])
    assert len(found) == 3 and not found["poor"].any()


def test_a_blind_predictor_is_called_blind(blind):
    table = verdicts(blind["association_ledger"])
    assert table["verdict"].tolist() == ["no signal found"] * 3 and table["poor"].all()
    notes = worries(blind)
    assert any(n.startswith("At σ² = 0, 1 and 9, network found no signal") for n in notes)
    assert any(
        n.startswith("At σ² = 0, 1 and 9, outcomes predicted by network are not shown to") for n in notes
    )
    assert "network found nothing that can be told from chance." in words(blind)
    assert "simulated from what network found fit better" not in words(blind)


def test_better_than_the_average_patient_needs_an_interval_without_0(good):
    nll = good["longitudinal_nll"].copy()
    rows = (nll["population"] == "predicted") & (nll["noise_variance"] == 9)
    nll.loc[rows, ["gain_low", "gain_high"]] = -1.0, 20.0
    tables = good | {"longitudinal_nll": nll}
    assert "average patient at σ² = 0 and 1; they cannot" in words(tables)
    assert "; they cannot be told apart at σ² = 9." in words(tables)
    assert worries(tables) == [
        "At σ² = 9, outcomes predicted by network are not shown to fit better than those of the average "
        "patient."
    ]


def test_constant_predictions_that_fit_better_say_nothing_of_images(blind):
    nll = blind["longitudinal_nll"].copy()
    nll.loc[nll["population"] == "predicted", ["gain", "gain_low", "gain_high"]] = 10.0, 5.0, 15.0
    tables = blind | {"longitudinal_nll": nll}
    assert "network found and records of the average patient cannot be told apart at σ² = 0" in words(tables)
    assert any("are not shown to fit better" in note for note in worries(tables))


@pytest.mark.parametrize(
    "fraction, verdict, poor",
    [(0.3, "less than half found", True), (0.6, "more than half found", False), (0.9, "most found", False)],
)
def test_verdicts(good, fraction, verdict, poor):
    row = verdicts(with_found(good, fraction)["association_ledger"]).iloc[-1]
    assert row.share == pytest.approx(fraction) and row.verdict == verdict and row.poor == poor


def test_little_found_is_said_with_the_shares(good):
    assert worries(with_found(good, 0.32)) == [
        "At σ² = 9, network found less than half of what the images carry (32.0 %)."
    ]


def test_images_that_carry_nothing_are_said_to_carry_nothing(empty):
    table = verdicts(empty["association_ledger"])
    assert table["verdict"].tolist() == ["nothing to be found"] * 3 and table["poor"].all()
    text = words(empty)
    assert "measured to carry nothing of them that can be told from chance, so this run shows no" in text
    assert "found" not in text.split("these records.")[0]
    assert "fit better than records of the average" not in text
    assert worries(empty)[0].startswith("At σ² = 0, 1 and 9, nothing of the random effects could be read")


def test_images_that_carry_little_are_said_to_carry_little(good):
    ledger = good["association_ledger"].copy()
    rows = ledger["part"] == "lost_in_image"
    for column, share in (("value", 0.6), ("share", 0.6), ("low", 0.58), ("high", 0.62)):
        ledger.loc[rows, column] = share * (1 if column == "share" else ledger.loc[rows, "explainable"])
    notes = worries(good | {"association_ledger": ledger})
    assert notes[0].startswith("At σ² = 0, 1 and 9, the images carry only 40 % of what they were designed to")


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


def test_missing_visits_are_no_fault_of_the_simulator(good):
    raw = CONFIG.model_dump()
    raw["longitudinal"]["missing"] = [{"mechanism": "completely_at_random", "fraction": 0.3}]
    missing = check(raw)
    nll = good["longitudinal_nll"].copy()
    nll.loc[nll["population"] == "true", "nll"] *= 0.7
    tables = good | {"longitudinal_nll": nll}
    assert "do not agree" in " ".join(worries(tables))
    assert "do not agree" not in " ".join(worries(tables, missing))
    text = " ".join(sentences(missing, ["grey"], good["association_ledger"], nll))
    assert "a record of up to 21 outcomes over 10 hours" in text


def test_a_random_effect_that_images_do_not_show_is_reported(good):
    weak = good["latent_ranking"].assign(readback_r2=[0.3, 0.0, 0.9, 0.8])
    (note,) = worries(good | {"latent_ranking": weak})
    assert (
        note.startswith("The random effect eta_IC50 (latent 0) can hardly be read back")
        and "R² is 0.30" in note
    )


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
    assert "linear, whose mean share is the highest of 2 predictors, found" in text and "best" not in text
    assert "records simulated from what linear and resnet18 found fit better than records of" in text
    assert verdicts(two["association_ledger"])["predictor"].tolist() == ["linear", "resnet18"] * 3


def test_only_stains_are_said_to_have_colours_of_their_own():
    assert stains_in_words(("DNA", "actin", "tubulin")) == "DNA is blue, actin magenta and tubulin green"
    assert [stains_in_words(channels) for channels in (("red", "green", "blue"), ("grey",))] == ["", ""]
