"""What an image is worth in visits, where the answer is known."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covary import nlme, rng
from covary.config.records import Longitudinal
from covary.errors import UserError
from covary.evaluate import NO_IMAGE, RandomEffects
from covary.evaluate.visits_worth import (
    VisitForecasts,
    default_first_visits,
    equivalent_visits,
    first_and_later,
    first_subjects,
    forecast_after_visits,
    visits_worth_table,
)
from covary.nlme.centred import around_means
from covary.records.study import Study
from covary.report.visits import visits_worth_in_words

N, VISITS = 120, [0, 1, 2, 4]
CARRIES = pd.DataFrame({"noise_variance": [0.0], "low": [0.9]})


@pytest.fixture(scope="module")
def level():
    """An image that tells each random effect with an error of variance 0.2, and one that tells nothing."""
    nlme.configure()
    settings = Longitudinal(
        model="one_compartment_oral", times_h=[0.5, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0],
        regimen=[{"time_h": 0, "amount": 300}],
    )  # fmt: skip
    study = Study.planned(settings, N, 1)
    eta_hat = rng.normal(1, "eta", 0, N, (3,))
    told = np.sqrt(0.8) * eta_hat + np.sqrt(0.2) * rng.normal(1, "error", 0, N, (3,))
    seen = {"clear": np.sqrt(0.8) * told, "blank": np.zeros((N, 3))}
    covariance = {"clear": 0.2 * np.eye(3), "blank": np.eye(3)}
    effects = RandomEffects(0.0, ["ka", "cl", "v"], eta_hat, eta_hat, seen, covariance)
    observation = study.simulate(eta_hat, seed=1, stream="y")
    observation[rng.uniform(1, "missing", 0, N, (7,)) < 0.1] = np.nan
    return forecast_after_visits(study, effects, observation, VISITS, 39, seed=1, start=0)


@pytest.fixture(scope="module")
def table(level):
    return visits_worth_table([level], seed=1, resamples=200)


def test_a_blank_image_changes_no_forecast_and_is_worth_no_visit(level, table):
    for m in VISITS:
        np.testing.assert_allclose(level.scores[m]["blank"], level.scores[m][NO_IMAGE], atol=1e-4)
    blank = table[table["predictor"] == "blank"]
    assert (blank["alone"] <= blank["visits"] + 0.01).all()
    assert "not shown to be worth a visit" in visits_worth_in_words(
        table[table["predictor"] != "clear"], CARRIES
    )


def test_a_clear_image_is_worth_visits_and_more_visits_help(table):
    clear = table[table["predictor"] == "clear"].set_index("visits")
    assert clear.loc[0, "alone_low"] > 0 and clear.loc[0, "crps"] < table["crps"][0]
    for _, rows in table.groupby("predictor"):
        assert (rows["crps_high"].to_numpy()[1:] > 0).all()
        assert (np.diff(rows["crps"]) < 0.05 * rows["crps"].iloc[0]).all()
    assert table["coverage"].between(0.9, 0.99).all()
    assert "forecasts later outcomes as well as the first" in visits_worth_in_words(table, CARRIES)


def test_no_worth_is_stated_of_images_that_carry_nothing(table):
    levels = pd.concat([table, table.assign(noise_variance=9.0)])
    ceiling = pd.DataFrame({"noise_variance": [0.0, 9.0], "low": [0.9, -0.01]})
    first, second = visits_worth_in_words(levels, ceiling).replace("\u00a0", " ").split(". At ")
    assert first == visits_worth_in_words(table, CARRIES).replace("\u00a0", " ").removesuffix(".")
    assert second == (
        "σ² = 9 no worth in visits is stated, because the images were measured to carry nothing that can be "
        "told from chance."
    )
    assert visits_worth_in_words(table, CARRIES.assign(low=0.0)).startswith("At σ²")


def test_forecasts_are_of_the_same_visits():
    y = np.array([[1.0, np.nan, 3.0, 4.0, 5.0], [1.0, 2.0, np.nan, np.nan, np.nan]])
    first, later = first_and_later(y, [0, 2])
    nan = np.nan
    np.testing.assert_array_equal(first[0], np.full((2, 5), nan))
    np.testing.assert_array_equal(first[2], [[1, nan, 3, nan, nan], [1, 2, nan, nan, nan]])
    np.testing.assert_array_equal(later, [[nan, nan, nan, 4, 5], [nan] * 5])
    assert default_first_visits(21) == [0, 1, 2, 3, 5, 8] and default_first_visits(3) == [0, 1]


def test_subjects_without_later_visits_are_left_out_and_named_if_none_is_left():
    study = Study.planned(Longitudinal(times_h=[1.0, 2.0]), 2, 1)
    effects = RandomEffects(9.0, list("abc"), np.zeros((2, 3)), np.zeros((2, 3)), {}, {})
    y = np.array([[0.1, 0.2], [0.1, np.nan]])
    assert len(forecast_after_visits(study, effects, y, [0, 1], 2, seed=1, start=0).later) == 1
    with pytest.raises(UserError, match="σ² = 9, no subject has a visit after the first 2"):
        forecast_after_visits(study, effects, y, [0, 2], 2, seed=1, start=0)
    assert len(first_subjects(effects, 1).eta_hat) == 1


@given(st.floats(0.11, 0.99))
def test_the_number_of_visits_is_interpolated_and_visits_that_do_not_help_are_left_out(score):
    visits, alone = np.array([0.0, 1.0, 2.0, 4.0]), np.array([1.0, 1.2, 0.5, 0.1])
    (found,) = equivalent_visits(visits, alone, np.array([score]))
    expected = 4 * (1 - score) if score > 0.5 else 2 + 2 * (0.5 - score) / 0.4
    assert found == pytest.approx(expected)
    np.testing.assert_array_equal(equivalent_visits(visits, alone, np.array([0.05, 1.5])), [4, 0])


def test_a_score_beyond_all_visits_is_said_to_be_beyond():
    later = rng.normal(1, "later", 0, 10, (2,))
    scores = {m: {NO_IMAGE: np.full((10, 3), 1.0 / (m + 1)), "net": np.full((10, 3), 0.1)} for m in (0, 1)}
    table = visits_worth_table([VisitForecasts(0.0, later, scores)], seed=1, resamples=100)
    assert table["beyond"].tolist() == [False, True, False, True]
    assert "more than the first 1 visit alone" in visits_worth_in_words(table, CARRIES)


def test_means_of_random_effects_shift_the_model():
    nlme.configure()
    model = nlme.OneCompartmentOral()
    truth = model.default_parameters()
    design = nlme.Design.regular([1.0, 4.0], n_subjects=3, dose=100.0)
    mean, zeta = rng.normal(1, "mean", 0, 3, (3,)), rng.normal(1, "zeta", 0, 3, (3,))
    shifted, with_means = around_means(model, design, mean)
    found = nlme.predictions(shifted, truth, zeta, with_means)
    np.testing.assert_allclose(found, nlme.predictions(model, truth, mean + zeta, design), rtol=1e-12)
    with pytest.raises(ValueError, match="mean must have shape"):
        around_means(model, dataclasses.replace(design, n_subjects=2), mean)
