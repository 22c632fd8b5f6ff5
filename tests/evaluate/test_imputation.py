"""Missing visits that are filled in: how, and that it biases."""

import io

import numpy as np
import pandas as pd
from designs import ORAL_TIMES_H
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from covary import nlme, rng
from covary.evaluate.imputation import FILLED, by_last_value, by_line, imputation_table
from covary.records.study import Study
from covary.report.imputation import imputation_in_words

N = 80


def test_values_that_are_filled_in():
    y = np.array([[np.nan, 1.0, np.nan, np.nan, 4.0, np.nan], np.full(6, np.nan)])
    nan = np.nan
    np.testing.assert_array_equal(by_last_value(y), [[nan, 1, 1, 1, 4, 4], [nan] * 6])
    times_h = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    np.testing.assert_array_equal(by_line(y, times_h), [[nan, 1, 2, 3, 4, nan], [nan] * 6])


@given(hnp.arrays(bool, (4, 5)), st.integers(0, 99))
def test_a_line_is_filled_in_exactly_and_values_that_are_there_stay(present, seed):
    draw = np.random.default_rng(seed)
    times_h = np.cumsum(draw.uniform(0.1, 2, 5))
    whole = draw.normal(size=(4, 1)) + draw.normal(size=(4, 1)) * times_h
    y = np.where(present, whole, np.nan)
    filled = by_line(y, times_h)
    np.testing.assert_allclose(filled[np.isfinite(filled)], whole[np.isfinite(filled)], atol=1e-9)
    for one in (filled, by_last_value(y)):
        np.testing.assert_array_equal(one[present], y[present])


def test_filling_in_biases_and_the_words_say_so():
    nlme.configure()
    model = nlme.OneCompartmentOral()
    truth = model.parameters([0.45, 1.0, 3.45], omega=0.1, residual=nlme.Additive(0.3))
    study = Study(model, truth, nlme.Design.regular(ORAL_TIMES_H, n_subjects=2 * N, dose=320.0))
    eta = rng.normal(1, "eta", 0, 2 * N, (3,))
    y = study.simulate(eta, seed=1, stream="y")
    y = np.where(rng.uniform(1, "missing", 0, 2 * N, (7,)) < 0.4, np.nan, y)
    train, test = slice(0, N), slice(N, 2 * N)
    table = imputation_table(
        study, study.truth, "fo", (y[train], train), (y[test], test), eta[test], seed=1, resamples=100
    )
    assert tuple(table["records"].unique()) == FILLED
    sd = table[table["name"].str.startswith("residual")].set_index("records")["value"]
    assert sd["last value"] > 2 * sd["likelihood"]
    r2 = table.query("quantity == 'r2' and name == 'all'").set_index("records")
    assert r2.loc["last value", "less_low"] > 0 and r2.loc["likelihood", "less"] == 0
    text = imputation_in_words(pd.read_csv(io.StringIO(table.to_csv(index=False))))
    # A fit that does not determine its parameters has no intervals, so none holds the truth.
    filled = (table["records"] == "line") & (table["quantity"] == "parameter")
    undetermined = table.assign(low=table["low"].mask(filled), high=table["high"].mask(filled))
    assert "Filled in with a line between their neighbours, none of the 7 parameters has an interval" in (
        imputation_in_words(undetermined)
    )
    filled &= table["name"] != "residual sd"
    partly = table.assign(low=table["low"].mask(filled), high=table["high"].mask(filled))
    assert "1 of the 1 parameters that have one miss the truth (residual sd)" in imputation_in_words(partly)
    assert "Filled in with the last value before them" in text and "R² of random effects falls by" in text
