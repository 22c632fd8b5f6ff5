"""Which visits are missing, and what estimators and scores make of those that are."""

import re

import numpy as np
import pandas as pd
import pytest
from designs import ORAL_TIMES_H, PAPER_TIMES_H
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import TypeAdapter
from scipy import stats

from covary import nlme
from covary.config.reading import check
from covary.config.visits import Missing
from covary.errors import UserError
from covary.evaluate.metrics import conditional_nll
from covary.evaluate.outcomes import Forecasts, outcome_table, score_forecast
from covary.nlme.empirical_bayes import estimate
from covary.nlme.lanes import observed_lanes_of
from covary.nlme.likelihood import LogJoint
from covary.nlme.models import OneCompartmentOral, SaturableElimination
from covary.records.visits import check_mechanisms, check_observed, visits_that_take_place
from covary.resampling import Resamples

TIMES_H = np.array([[0.0, 1.0, 2.0, 4.0, 8.0]])
ALL = np.ones((1, 5), dtype=bool)
N = 20_000
EFFECTS = ("eta_a", "eta_b")
RNG = np.random.default_rng(1)
ETA, OUTCOME = RNG.normal(size=(N, 2)), RNG.normal(1.0, 0.5, size=(N, 5))


def mechanisms(*missing: dict) -> list:
    return [TypeAdapter(Missing).validate_python(each) for each in missing]


def present(*missing: dict, start: int = 0, n: int = N, seed: int = 3):
    rows = slice(start, start + n)
    return visits_that_take_place(
        mechanisms(*missing), TIMES_H, ALL, OUTCOME[rows], ETA[rows], EFFECTS, seed=seed, start=start
    )


def test_no_mechanism_takes_no_visit():
    assert present().all()


def test_fractions_are_those_asked_for():
    missing = ~present({"mechanism": "completely_at_random", "fraction": 0.3})
    np.testing.assert_allclose(missing.mean(axis=0), 0.3, atol=4 * np.sqrt(0.3 * 0.7 / N))
    missing = ~present({"mechanism": "dropout", "fraction": 0.3})
    assert missing.mean() == pytest.approx(0.3, abs=0.01)
    assert not missing[:, 0].any()


def test_who_has_left_does_not_come_back():
    taken = present({"mechanism": "dropout", "fraction": 0.5})
    assert (np.diff(taken.astype(int), axis=1) <= 0).all()
    # Times of leaving are exponential: each hour costs the same share of those who are left.
    left = taken.mean(axis=0)
    np.testing.assert_allclose(np.log(left[1:]) / TIMES_H[0, 1:], np.log(left[1]), rtol=0.05)


def test_a_number_per_subject_is_uniform_and_so_are_its_places():
    missing = ~present({"mechanism": "completely_at_random", "at_most": 3})
    counts = np.bincount(missing.sum(axis=1), minlength=5)
    assert counts[4] == 0 and stats.chisquare(counts[:4]).pvalue > 1e-3
    assert stats.chisquare(missing.sum(axis=0)).pvalue > 1e-3


@pytest.mark.parametrize(("quantity", "value"), [("outcome", OUTCOME), ("eta_b", ETA[:, [1]])])
def test_not_at_random_follows_the_logit(quantity, value):
    missing = ~present({"mechanism": "not_at_random", "quantity": quantity, "fraction": 0.2, "slope": 1.5})
    probability = 1 / (1 + 4 * np.exp(-1.5 * np.broadcast_to(value, missing.shape)))
    for low, high in ((0.0, 0.2), (0.2, 0.4), (0.4, 0.9)):
        inside = (probability >= low) & (probability < high)
        if inside.sum() > 1000:
            assert missing[inside].mean() == pytest.approx(probability[inside].mean(), abs=0.02)


def test_visits_of_a_subject_do_not_depend_on_the_part_it_is_in():
    both = {"mechanism": "completely_at_random", "fraction": 0.3}, {"mechanism": "dropout", "fraction": 0.2}
    whole = present(*both, n=300)
    np.testing.assert_array_equal(whole[120:180], present(*both, start=120, n=60))
    assert (whole != present(*both, n=300, seed=4)).any()


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ({"mechanism": "completely_at_random", "fraction": 1.0}, ".fraction: must be < 1, got 1"),
        ({"mechanism": "dropout", "fraction": -0.1}, ".fraction: must be ≥ 0, got -0.1"),
        ({"mechanism": "completely_at_random"}, ".fraction or at_most must be given"),
        ({"mechanism": "not_at_random", "fraction": 0.2, "slope": 1}, ".quantity: must be given"),
        ({"mechanism": "lost"}, "'completely_at_random', 'dropout', 'not_at_random'"),
    ],
)
def test_a_wrong_setting_is_named(missing, message):
    with pytest.raises(UserError) as error:
        check({"experiment": "x", "longitudinal": {"missing": [missing]}})
    assert "longitudinal.missing[0]" in str(error.value) and message in str(error.value)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ({"mechanism": "dropout", "fraction": 0.8}, ".fraction: must be < 4/5, because the first"),
        ({"mechanism": "completely_at_random", "at_most": 5}, ".at_most: must be < the number of visits, 5"),
        (
            {"mechanism": "not_at_random", "quantity": "weight", "fraction": 0.1, "slope": 1},
            ".quantity: must be one of outcome, eta_a, eta_b, got 'weight'",
        ),
    ],
)
def test_a_mechanism_that_does_not_fit_is_named(missing, message):
    with pytest.raises(UserError, match=re.escape(f"longitudinal.missing[0]{message}")):
        check_mechanisms(mechanisms(missing), ALL, EFFECTS)


def test_only_visits_of_the_own_schedule_count_as_missing():
    """Half of the subjects come at hours 1, 4 and 8 only; for them the share and the number are of these."""
    scheduled = np.ones((N, 5), dtype=bool)
    scheduled[: N // 2, [0, 2]] = False

    def gone(**missing):
        (mechanism,) = mechanisms(missing)
        taken = visits_that_take_place(
            [mechanism], np.repeat(TIMES_H, N, axis=0), scheduled, OUTCOME, ETA, EFFECTS, seed=3, start=0
        )
        return (~taken & scheduled)[: N // 2]

    missing = gone(mechanism="dropout", fraction=0.3)
    assert not missing[:, 1].any() and missing[:, [1, 3, 4]].mean() == pytest.approx(0.3, abs=0.01)
    counts = np.bincount(gone(mechanism="completely_at_random", at_most=2).sum(axis=1), minlength=4)
    assert counts[3] == 0 and stats.chisquare(counts[:3]).pvalue > 1e-3
    with pytest.raises(UserError, match="at_most: must be < the number of visits, 3"):
        check_mechanisms(
            mechanisms({"mechanism": "completely_at_random", "at_most": 3}), scheduled[[0, -1]], EFFECTS
        )


def test_a_split_without_any_visit_is_named():
    with pytest.raises(UserError, match=r"longitudinal\.missing: noise_9: every visit of the test subjects"):
        check_observed(np.full((3, 2), np.nan), "test", "noise_9")


def test_a_missing_visit_is_a_visit_that_does_not_exist(tmp_path):
    """Densities and estimates equal those on a ragged design without the missing visits.

    The model is a closed form: a solver stops at every visit of the schedule, so its steps would differ.
    """
    nlme.configure()
    model, n = OneCompartmentOral(), 40
    truth = model.default_parameters()
    times = ORAL_TIMES_H
    design = nlme.Design.regular(times, n_subjects=n, dose=100.0)
    eta = 0.3 * np.random.default_rng(5).normal(size=(n, 3))
    observation = nlme.simulate(model, truth, eta, design, 1).observation
    missing = mechanisms({"mechanism": "completely_at_random", "fraction": 0.3})
    taken = visits_that_take_place(
        missing, times[None], np.ones((1, times.size), bool), observation, eta, model.random_effects,
        seed=2, start=0,
    )  # fmt: skip
    seen = nlme.Records.of(design, np.where(taken, observation, np.nan), missing_as_nan=True)
    whole, without = tmp_path / "whole.csv", tmp_path / "without.csv"
    nlme.write_nonmem(whole, seen)
    table = pd.read_csv(whole, dtype=str)
    table[~((table["EVID"] == "0") & (table["MDV"] == "1"))].to_csv(without, index=False)
    ragged = nlme.read_nonmem(without)
    assert ragged.present.sum() == taken.sum() < seen.present.size
    assert not ragged.design.shared
    everyone, points = np.arange(n), np.random.default_rng(6).normal(size=(n, 5, 3)) / 3
    densities = [LogJoint(model, truth, records)(points, everyone) for records in (seen, ragged)]
    np.testing.assert_allclose(densities[0], densities[1], rtol=1e-8)
    # From the same start, estimates follow the same path.
    lanes = (observed_lanes_of(model, records) for records in (seen, ragged))
    modes, expected = (estimate(model, truth, each, True, near=eta) for each in lanes)
    np.testing.assert_allclose(modes.eta, expected.eta, atol=1e-8)
    np.testing.assert_allclose(modes.precision, expected.precision, rtol=1e-6)
    found, expected = (nlme.objective(model, truth, records, method="foce") for records in (seen, ragged))
    np.testing.assert_allclose(found.ofv, expected.ofv, rtol=1e-8, atol=1e-8)


def test_a_subject_without_a_record_keeps_its_prior_and_has_a_status():
    nlme.configure()
    model = SaturableElimination()
    truth = model.default_parameters()
    design = nlme.Design.regular(PAPER_TIMES_H, n_subjects=2, dose=1.0)
    observation = np.full((2, len(PAPER_TIMES_H)), np.nan)
    observation[0, [0, 2, 6]] = 0.0, 0.4, 0.3
    records = nlme.Records.of(design, observation, missing_as_nan=True)
    modes = nlme.empirical_bayes(model, truth, records)
    assert modes.status[1] == nlme.Status.NO_RECORD and modes.status[0] != nlme.Status.NO_RECORD
    np.testing.assert_allclose(modes.eta[1], 0.0, atol=1e-6)
    np.testing.assert_allclose(modes.precision[1], np.linalg.inv(truth.omega), atol=1e-8)
    # It adds nothing to the likelihood.
    found = nlme.objective(model, truth, records, method="focei")
    assert found.ofv[1] == pytest.approx(0.0, abs=1e-8)


@given(hnp.arrays(bool, (6, 4)), st.integers(0, 100))
def test_scores_of_present_visits_are_those_of_a_record_without_the_others(taken, seed):
    draw = np.random.default_rng(seed)
    y, f = draw.normal(size=(6, 4)), draw.normal(size=(6, 4))
    seen = np.where(taken, y, np.nan)
    found = conditional_nll(seen, f, nlme.Additive(0.5))
    one_by_one = [
        conditional_nll(a[None, row], b[None, row], nlme.Additive(0.5))[0] if row.any() else 0.0
        for a, b, row in zip(y, f, taken, strict=True)
    ]
    np.testing.assert_allclose(found, one_by_one, atol=1e-12)


def test_outcome_scores_weigh_present_visits_alike():
    draw = np.random.default_rng(4)
    observation, ensemble = draw.normal(size=(50, 6)), draw.normal(size=(50, 39, 6))
    taken = draw.uniform(size=observation.shape) < 0.6
    seen = np.where(taken, observation, np.nan)
    table = outcome_table(
        [Forecasts(1.0, seen, {"a": score_forecast(seen, ensemble)})], Resamples(50, seed=1, resamples=20)
    )
    error = (observation - ensemble.mean(axis=1)) ** 2 - ensemble.var(axis=1, ddof=1) / 39
    centred = observation - np.array([observation[taken[:, t], t].mean() for t in range(6)])
    assert table["r2"][0] == pytest.approx(1 - error[taken].sum() / (centred[taken] ** 2).sum())
    assert 0.5 < table["coverage"][0] <= 1
