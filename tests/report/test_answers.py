import numpy as np
import pandas as pd
import pytest

from covary.report.answers import (
    calibration_in_words,
    comparison_in_words,
    ledger_in_words,
    power_in_words,
    privacy_verdict,
    subjects,
)


def plain(text):
    return text.replace("\u00a0", " ")


def test_the_ledger_is_told_in_two_sentences_with_its_numbers(two):
    text = plain(ledger_in_words(two["association_ledger"]))
    assert text.count(". ") == 1 and text.endswith(".")
    rows = two["association_ledger"].query(
        "noise_variance == 0 and random_effect == 'all' and predictor == 'linear'"
    )
    for share in rows["share"]:
        assert f" {round(100 * share)}".replace("-", "−") in text
    assert "at σ² = 0, linear found about" in text  # linear makes the smaller error


def test_comparisons_name_the_better_one_and_where(two):
    table = two["comparison"].copy()
    table["low"], table["high"] = -0.2, -0.1
    table["difference"] = -0.15
    table.loc[table["noise_variance"] == 9, ["low", "high"]] = -0.1, 0.1
    assert [plain(text) for text in comparison_in_words(table)] == [
        "linear finds more than resnet18 at σ² = 0 and 1 (R² higher by 0.150 and 0.150); they cannot be told "
        "apart at σ² = 9."
    ]
    assert comparison_in_words(table.iloc[:0]) == []


def test_calibration_is_told_for_the_95_percent_intervals(two):
    sentences = calibration_in_words(two["calibration"])
    assert len(sentences) == 2 and "intervals of linear hold" in sentences[0]
    rows = two["calibration"].query("level == 0.95 and random_effect == 'all' and predictor == 'linear'")
    assert f"{100 * rows['coverage'].max():.1f} % of η̂" in plain(sentences[0])


def test_power_is_told_with_what_is_out_of_reach():
    power = pd.DataFrame(
        {
            "predictor": "net",
            "noise_variance": [0.0, 1.0, 9.0, 49.0],
            "from_scratch": [60.0, 90.0, 1234.0, np.inf],
        }
    )
    assert [plain(text) for text in power_in_words(power, 400.0)] == [
        "A study that trains net on its own subjects detects the association with 80 % power with < 400 at "
        "σ² = 0 and 1 and 1,234 at σ² = 9 subjects; at σ² = 49 no number of subjects is enough."
    ]
    hopeless = power.assign(from_scratch=np.inf)
    assert "with no number of subjects at any noise level." in power_in_words(hopeless, 400.0)[0]
    assert power_in_words(power.iloc[:0], 400.0) == []
    assert subjects(12345.0) == "12,345" and subjects(np.inf) == "no number"


@pytest.mark.parametrize(
    "found, start, poor",
    [
        ({}, "No sign of copying", False),
        ({"closer_than_held_out": 0.8}, "No sign that particular images were copied", False),
        ({"near_copies": 0.2}, "No sign that particular images were copied", False),
        ({"membership_auc": 0.62}, "Yes, to some degree", True),
    ],
)
def test_the_privacy_verdict_is_plain(privacy_of, found, start, poor):
    verdict = privacy_verdict(privacy_of(**found))
    assert verdict.text.startswith(start) and verdict.poor is poor
    if poor:
        assert "0.62 by encoder features" in verdict.text
