import numpy as np
import pandas as pd
import pytest

from covary.evaluate import measured_ceiling
from covary.report.answers import (
    calibration_in_words,
    comparison_in_words,
    ledger_in_words,
    limit_in_words,
    minimality,
    negative_parts_in_words,
    pictures_verdict,
    power_in_words,
    privacy_verdict,
    subjects,
    subjects_interval,
)


def plain(text):
    return text.replace("\u00a0", " ")


def test_the_ledger_is_told_stage_by_stage_with_intervals(two):
    text = plain(ledger_in_words(two["association_ledger"]))
    rows = two["association_ledger"].query(
        "noise_variance == 0 and random_effect == 'all' and predictor == 'linear'"
    )

    def said(part):
        value, low, high = 100 * rows.set_index("part").loc[part, ["value", "low", "high"]].astype(float)
        return f"{value:.1f} [{low:.1f}, {high:.1f}]".replace("-", "−")

    assert f"by design at σ² = 0, {said('lost_in_image')} are not shown by the images, " in text
    assert f"{said('lost_in_estimator')} are lost when the traits must be estimated from records and " in text
    assert f"{said('lost_in_predictor')} are lost in the network; " in text
    assert f"; linear found {said('reached')} (in brackets" in text  # linear makes the smaller error


def test_nothing_found_is_none(empty):
    text = plain(ledger_in_words(empty["association_ledger"]))
    assert text.endswith("the images were measured to carry nothing that can be told from chance.")


def test_a_ceiling_whose_interval_holds_0_is_nothing_and_so_is_what_is_found_below_it(chance, blind):
    ledger = chance["association_ledger"]
    ceiling = measured_ceiling(ledger)
    assert (ceiling["carried"] > 0.005 * ceiling["explainable"]).all() and (ceiling["low"] < 0).all()
    text = plain(ledger_in_words(ledger))
    assert text.endswith("the images were measured to carry nothing that can be told from chance.")
    text = plain(ledger_in_words(blind["association_ledger"]))
    assert "; network found nothing that can be told from chance (in brackets" in text


def test_a_negative_part_is_named_with_its_interval(good):
    ledger = good["association_ledger"].copy()
    assert negative_parts_in_words(ledger.assign(share=0.1)) == []
    row = ledger.index[(ledger["part"] == "lost_in_estimator") & (ledger["random_effect"] == "all")][1]
    ledger["share"] = ledger["share"].abs()
    ledger.loc[row, ["value", "low", "high", "share"]] = -0.01, -0.03, 0.02, -0.02
    (sentence,) = negative_parts_in_words(ledger)
    assert plain(sentence) == (
        "Lost in estimator by network at σ² = 1 is negative, −2.0 % (95 % interval −6.0 % to 4.0 %). Its "
        "interval holds 0, so that it cannot be told from 0."
    )
    ledger.loc[row, "high"] = -0.005
    assert plain(negative_parts_in_words(ledger)[0]) == (
        "Lost in estimator by network at σ² = 1 is negative, −2.0 % (95 % interval −6.0 % to −1.0 %). Its "
        "interval lies below 0: more is explained after this stage than before it."
    )


def test_predictions_worse_than_the_mean_are_said_to_be_so(empty):
    said = [plain(text) for text in negative_parts_in_words(empty["association_ledger"])]
    (found,) = (text for text in said if text.startswith("Found by network at σ² = 0 is negative, −"))
    assert found.endswith("predictions are farther from the truth than the average patient is.")


def test_comparisons_name_the_better_one_and_where(two):
    table = two["comparison"].copy()
    table["low"], table["high"] = -0.2, -0.1
    table["difference"] = -0.15
    table.loc[table["noise_variance"] == 9, ["low", "high"]] = -0.1, 0.1
    ledger = two["association_ledger"].copy()
    assert [plain(text) for text in comparison_in_words(table, ledger)] == [
        "linear has a higher R² than resnet18 at σ² = 0 and 1 (higher by 0.150 and 0.150); they cannot be "
        "told apart at σ² = 9."
    ]
    assert comparison_in_words(table.iloc[:0], ledger) == []
    ledger.loc[(ledger["part"] == "reached") & (ledger["noise_variance"] == 1), "low"] = -0.01
    assert [plain(text) for text in comparison_in_words(table, ledger)] == [
        "linear has a higher R² than resnet18 at σ² = 0 (higher by 0.150); they cannot be told apart at "
        "σ² = 9.",
        "At σ² = 1 predictors are not compared in words, because neither found anything that can be told "
        "from chance.",
    ]
    ledger.loc[(ledger["part"] == "lost_in_image") & (ledger["noise_variance"] > 0), "high"] = 1
    assert [plain(text) for text in comparison_in_words(table, ledger)] == [
        "linear has a higher R² than resnet18 at σ² = 0 (higher by 0.150).",
        "At σ² = 1 and 9 predictors are not compared in words, because the images were measured to carry "
        "nothing that can be told from chance.",
    ]


def test_calibration_is_told_for_the_95_percent_intervals(two):
    sentences = calibration_in_words(two["calibration"])
    assert len(sentences) == 2 and "intervals of linear hold" in sentences[0]
    rows = two["calibration"].query("level == 0.95 and random_effect == 'all' and predictor == 'linear'")
    assert f"{100 * rows['coverage'].max():.1f} % of η̂" in plain(sentences[0])


def test_power_is_told_with_what_cannot_be_said():
    power = pd.DataFrame(
        {
            "predictor": "net",
            "noise_variance": [0.0, 1.0, 9.0, 49.0],
            "from_scratch": [60.0, 90.0, 1234.0, np.inf],
            "from_scratch_low": [50.0, 80.0, 1000.0, 3200.0],
            "informative_sizes": [4, 4, 3, 2],
            "decides": True,
        }
    )
    start = (
        "Subjects that a study which trains net on its own data needs to detect the association with 80 % "
        "power: "
    )
    ceiling = pd.DataFrame({"noise_variance": power["noise_variance"], "low": 0.1})
    assert [plain(text) for text in power_in_words(power, 400.0, ceiling)] == [
        f"{start}< 400 at σ² = 0 and 1; 1,234 at σ² = 9; cannot be said, at least 3,200 at σ² = 49."
    ]
    (nothing,) = power_in_words(power, 400.0, ceiling.assign(low=[0.1, 0.0, -0.1, -0.1]))
    assert plain(nothing) == (
        f"{start}< 400 at σ² = 0; cannot be said at σ² = 1 and 9; cannot be said, at least 3,200 at σ² = 49."
    )
    (rough,) = power_in_words(power.assign(decides=False, informative_sizes=[4, 4, 3, 0]), 400.0, ceiling)
    assert plain(rough).startswith(plain(power_in_words(power, 400.0, ceiling)[0]))
    assert "At σ² = 49 something was learned at fewer than two training sizes." in plain(rough)
    assert "Numbers at σ² = 0, 1 and 9 are rough: each size was trained on fewer than three" in plain(rough)
    assert power_in_words(power.iloc[:0], 400.0, ceiling) == []


def test_numbers_of_subjects_and_limits_are_no_more_exact_than_they_are():
    assert subjects(12345.0, 1.0) == "12,345" and plain(subjects(20.0, 1.0, 50.0)) == "< 50"
    assert plain(subjects(np.inf, 800.0)) == "cannot be said, at least 800"
    assert subjects_interval(60.0, 90.0) == "[60, 90]" and subjects_interval(20.0, 40.0, 50.0) == ""
    assert subjects_interval(60.0, np.inf) == "at least 60"
    assert limit_in_words(0.4, 0.3, 0.45, 0.5) == "0.400 [0.300, 0.450]"
    assert limit_in_words(0.5, 0.3, 0.5, 0.5) == "at least 0.300"
    assert limit_in_words(1.0, 1.0, 1.0, 1.0) == "cannot be said: still rising"
    assert limit_in_words(np.nan, np.nan, np.nan, 1.0) == "cannot be said"


@pytest.mark.parametrize(
    "values, start, poor",
    [
        ({}, "generated images are much like the test images: 80 % of them", False),
        ({"recall": 0.3}, "generated images can be told from the test images: 80 % of them", True),
        ({"readback": 0.2}, "generated images are much like", True),
    ],
)
def test_the_verdict_on_the_pictures_is_plain(quality_of, values, start, poor):
    verdict = pictures_verdict(quality_of(**values), [0, 2, 3], phantoms=False)
    encoder = "To the image VAE’s encoder, which sees mostly large structure, the "
    assert plain(verdict.text).startswith(encoder + start) and verdict.poor is poor
    far = quality_of()
    is_far = (far["measure"] == "frechet_distance") & (far["of"] == "generated")
    far.loc[is_far, "value"] *= 100
    assert "can be told from" in pictures_verdict(far, [0], phantoms=False).text
    far["feature_space"] = far["feature_space"].replace("vae_encoder", "reader")
    assert pictures_verdict(far, [0], phantoms=False).text.startswith("The generated images can be told")
    assert "real" not in pictures_verdict(quality_of(), [0], phantoms=True).text.lower().split()
    assert "the drawn phantoms" in pictures_verdict(quality_of(), [0], phantoms=True).text


def test_minimality_is_plain(counterfactuals_of):
    good = minimality(counterfactuals_of())
    assert "moves by 1.90 to 1.90, and what is read of another by at most 0.10" in good.text and not good.poor
    for values in ({"own": 1.6}, {"own": 2.4}, {"other": -0.4}):
        bad = minimality(counterfactuals_of(**values))
        assert bad.poor and bad.text.endswith(
            "The images do not show the random effects one by one as they should."
        )


@pytest.mark.parametrize(
    "found, said, poor",
    [
        ({}, ["No sign of it", "curve 0.50 [0.45, 0.55]", "picks out 1.0 % [0.2 %, 3.0 %] of them"], False),
        ({"closer_than_held_out": 0.8}, ["No sign of it", "smoother or more typical"], False),
        ({"near_copies": 0.2}, ["No sign of it", "smoother or more typical"], False),
        ({"membership_auc": 0.62}, ["Yes, to some degree", "0.62 by encoder features"], True),
        ({"attack_auc": 0.7}, ["Yes, to some degree", "curve 0.70 [0.63, 0.77]"], True),
        ({"by_start_auc": 0.7}, ["Yes, to some degree", "than that network does", "0.70 [0.63"], True),
        ({"by_start_auc": 0.5, "attack_auc": 0.7}, ["No sign of it", "0.50 [0.45, 0.55]"], False),
    ],
)
def test_the_privacy_verdict_is_plain(privacy_of, found, said, poor):
    verdict = privacy_verdict(privacy_of(**found))
    text = plain(verdict.text)
    assert text.startswith(said[0]) and all(part in text for part in said) and verdict.poor is poor
