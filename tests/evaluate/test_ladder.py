"""Models of different kind on the same records, where the answer is known."""

import re

import numpy as np
import pandas as pd
import pytest

from covary import figures, nlme, rng
from covary.config.ladder import TRUTH, Ladder, Rung
from covary.config.reading import ConfigError, check
from covary.config.records import Longitudinal, PopulationFit
from covary.errors import UserError
from covary.evaluate.ladder import (
    ALL,
    NEW,
    Held,
    check_ladder,
    fit_rung,
    ladder_tables,
    n_random_effects,
    score_model,
)
from covary.records.study import Study
from covary.report.ladder import models_in_words

N = 10
WORSE = (("wrong", 2, -3.0, 4.0), ("deep_1", 3, -1.0, 2.0), ("twin", 2, -3.0, 4.0))
RIGHT = {"name": "right", "model": "one_compartment_oral"}


@pytest.fixture(scope="module")
def study():
    nlme.configure()
    settings = Longitudinal(
        model="one_compartment_oral", times_h=[0.5, 2.0, 4.0, 8.0, 12.0, 24.0],
        regimen=[{"time_h": 0, "amount": 300}],
    )  # fmt: skip
    return Study.planned(settings, N, 1)


@pytest.fixture(scope="module")
def held(study):
    eta = rng.normal(1, "eta", 0, N, (3,))
    records = study.records(study.simulate(eta, seed=1, stream="y"))
    new = nlme.Design.regular(study.times_h, n_subjects=N, dose=100.0)
    return Held(records, study.predictions(eta), new, nlme.predictions(study.model, study.truth, eta, new), 0)


@pytest.fixture(scope="module")
def truth(study, held):
    return score_model(study.model, study.truth, held, [0, 1, 3], 1)


def test_evidence_is_that_of_quadrature_and_errors_fall_with_visits(study, held, truth):
    exact = nlme.evidence(study.model, study.truth, held.records, methods=("quadrature",)).value["quadrature"]
    np.testing.assert_allclose(truth["evidence"], exact, atol=5 * truth["evidence_error"].max() + 0.02)
    errors = truth[["0", "1", "3", ALL]].mean()
    assert errors.is_monotonic_decreasing and errors[ALL] < 0.1 * errors["0"]
    # The model is linear in the dose: a third of it gives a ninth of the squared error.
    np.testing.assert_allclose(truth[NEW], truth[ALL] / 9, rtol=1e-6)


def made_up(truth, *, evidence, error):
    """Scores that are worse by known amounts."""
    given = truth.columns[3:]
    return truth.assign(evidence=truth["evidence"] + evidence, **{g: error**2 * truth[g] for g in given})


@pytest.fixture
def tables(truth):
    wobble = 0.1 * np.arange(N)
    scores = {
        (name, k, size): made_up(truth, evidence=evidence * wobble, error=error)
        for name, k, evidence, error in WORSE
        for size in (10, 30)
    }
    converged = {key: key[::2] != ("twin", 30) for key in scores}
    return ladder_tables(scores, converged, truth, 3, "wrong", seed=1, resamples=100)


def test_tables_have_paired_differences_and_ratios_to_the_truth(tables, truth):
    table, predictions = tables
    deep = table[(table["model"] == "deep_1") & (table["training_subjects"] == 30)].iloc[0]
    assert deep["difference"] == pytest.approx(2 * 0.1 * np.arange(N).sum())
    assert 0 < deep["low"] < deep["difference"] < deep["high"]
    assert table.loc[table["model"] == TRUTH, "evidence"].item() == pytest.approx(truth["evidence"].sum())
    ratio = predictions.groupby("model")["ratio"]
    assert ratio.min().to_dict() == pytest.approx(ratio.max().to_dict())
    assert ratio.first().to_dict() == pytest.approx({TRUTH: 1.0, "wrong": 4.0, "deep_1": 2.0, "twin": 4.0})
    assert (predictions["low"] <= predictions["rmse"] + 1e-12).all()


def test_a_subject_without_a_score_is_left_out_of_every_row(truth):
    gap = truth.assign(evidence=truth["evidence"].where(truth["subject"] != 2))
    table, predictions = ladder_tables(
        {("wrong", 3, 10): gap}, {("wrong", 3, 10): True}, truth, 3, "wrong", seed=1, resamples=100
    )
    assert (table["subjects"] == N - 1).all()
    assert table["evidence"].nunique() == 1 and (predictions["ratio"] == 1).all()


def test_the_words_follow_the_intervals(tables):
    first, second, ended, errors = models_in_words(*tables, "wrong")
    assert first == (
        "After 10 training subjects, by the evidence of 10 new subjects, deep 1 (by 9) lies above wrong; "
        "twin cannot be told from it."
    )
    assert second.startswith("After 30")
    assert ended == "These fits did not converge, so the models may reach more evidence: twin (30 subjects)."
    assert re.search(r"2\.0 for deep 1 \(2\.0 under new doses\)", errors)


def test_the_figure_has_a_line_per_model(tables):
    figure = figures.deep_ladder(*tables)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["wrong", "deep 1", "twin"]


@pytest.mark.slow
def test_a_fit_of_few_steps_comes_close_to_the_truth(study, held, truth):
    settings = Ladder(models=[Rung(**RIGHT)], steps=200, final_steps=20)
    fit = PopulationFit(initial_sigma=1.0)
    found = fit_rung(settings.models[0], study, held.records, fit, settings, 1)
    scores = score_model(found.model, found.parameters, held, [0], 1)
    assert scores["evidence"].sum() > truth["evidence"].sum() - 3.0  # these subjects were in the training


def test_the_number_of_random_effects_is_that_of_the_rung():
    assert n_random_effects(Rung(name="a", model="neural_elimination", random_effects=0)) == 1
    assert n_random_effects(Rung(name="a", model="neural_compartments", random_effects=4)) == 4


@pytest.mark.parametrize(
    ("rung", "message"),
    [
        ({"model": "nothing"}, r"ladder.models \(bad\): must be one of .*, got 'nothing'"),
        (
            {"model": "one_compartment_oral", "random_effects": 2},
            r"ladder.models \(bad\): OneCompartmentOral takes no number of random effects, got 2",
        ),
        (
            {"model": "one_compartment_oral", "initial_fixed_effects": [1]},
            r"ladder.models \(bad\): fixed effects must be 3 numbers \(tka, tcl, tv\), got 1",
        ),
    ],
)
def test_a_model_that_does_not_fit_is_one_clear_line(study, rung, message):
    with pytest.raises(UserError, match=message):
        check_ladder(Ladder(models=[Rung(name="bad", **rung)]), study, PopulationFit())


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"steps": 10}, "ladder.steps: has no effect without models; remove it"),
        ({"models": [RIGHT, RIGHT]}, r"models\[1\].name must differ from true_parameters and other names"),
        ({"models": [RIGHT], "reference": "left"}, "reference must be the name of one of the models, got 'l"),
        ({"models": [RIGHT], "estimators": ["left"]}, "estimators must be names of the models, got 'left'"),
        ({"models": [RIGHT], "training_subjects": [30, 10]}, r"training_subjects must increase, got"),
    ],
)  # fmt: skip
def test_faulty_settings_are_one_clear_line(section, message):
    with pytest.raises(ConfigError, match=message):
        check({"ladder": section})


def test_tables_are_written_and_read_alike(tables, tmp_path):
    tables[0].to_csv(tmp_path / "table.csv", index=False)
    again = pd.read_csv(tmp_path / "table.csv")
    pd.testing.assert_frame_equal(again, tables[0], check_dtype=False)
