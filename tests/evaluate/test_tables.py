import dataclasses
import math

import jaxtyping
import numpy as np
import pytest

from covary import rng
from covary.association import blur, explainable_fraction
from covary.evaluate import (
    RandomEffects,
    Records,
    longitudinal_nll_table,
    mean_squared_error,
    r2,
    random_effects_table,
    random_population,
)

EFFECTS_COLUMNS = ["noise_variance", "term_1", "term_2", "mse", "mse_low", "mse_high",
                   "r2", "r2_low", "r2_high", "theoretical_max", "fraction_of_max"]  # fmt: skip
NLL_COLUMNS = ["noise_variance", "population", "nll", "nll_low", "nll_high"]
POPULATIONS = ["true", "predicted", "approximate", "average", "random"]


def level(noise_variance, n=600, k=3, predictors=("network",)):
    eta = rng.normal(1, "eta", 0, n, (k,))
    eta_hat = blur(eta, noise_variance, rng.normal(1, f"r/{noise_variance}", 0, n, (k,)))
    eta_approx = 0.7 * eta_hat + 0.4 * rng.normal(1, f"e/{noise_variance}", 0, n, (k,))
    eta_pred = {
        name: eta / (1 + noise_variance) ** 0.5 * (0.5 + 0.1 * i) for i, name in enumerate(predictors)
    }
    return RandomEffects(noise_variance, eta_hat, eta_approx, eta_pred)


def records(noise_variance, n=500, t=21, predictors=("network",), sd=0.01):
    def outcome(spread, name):
        error = sd * rng.normal(1, f"{name}/{noise_variance}/error", 0, n, (t,))
        return spread * rng.normal(1, f"{name}/{noise_variance}", 0, n, (1,)) + error

    return Records(
        noise_variance,
        true=outcome(0.0, "true"),
        predicted={name: outcome(0.02, name) for name in predictors},
        approximate=outcome(0.01, "approximate"),
        average=outcome(0.05, "average"),
        random=outcome(0.1, "random"),
    )


def test_columns_and_rows_of_the_random_effects_table():
    levels = [level(0.0), level(9.0)]
    table = random_effects_table(levels, seed=1, resamples=100)
    assert list(table.columns) == EFFECTS_COLUMNS
    terms = [("eta_hat", "eta_pred"), ("eta_hat", "eta_approx"), ("eta_approx", "eta_pred")]
    assert list(zip(table.noise_variance, table.term_1, table.term_2, strict=True)) == [
        (v, *pair) for v in (0.0, 9.0) for pair in terms
    ]
    arrays = [
        {"eta_hat": x.eta_hat, "eta_approx": x.eta_approx, "eta_pred": x.eta_pred["network"]} for x in levels
    ]
    for i, row in table.iterrows():
        terms_of_row = arrays[i // 3][row.term_1], arrays[i // 3][row.term_2]
        assert row.mse == pytest.approx(mean_squared_error(*terms_of_row))
        assert row.r2 == pytest.approx(r2(*terms_of_row))
    assert (table.mse_low < table.mse).all() and (table.mse < table.mse_high).all()
    assert (table.r2_low < table.r2).all() and (table.r2 < table.r2_high).all()


def test_maximum_stands_only_where_an_image_explains_eta_hat():
    table = random_effects_table([level(0.0), level(1.0)], seed=1, resamples=100)
    assert table.theoretical_max.notna().tolist() == [True, False, False] * 2
    assert table.fraction_of_max.notna().tolist() == [True, False, False] * 2
    for _, row in table.dropna().iterrows():
        assert row.theoretical_max == explainable_fraction(row.noise_variance)
        assert row.fraction_of_max == row.r2 / row.theoretical_max


def test_two_predictors_have_a_column_and_the_estimator_stands_once():
    table = random_effects_table([level(1.0, predictors=("a", "b"))], seed=1, resamples=100)
    assert list(table.columns) == [EFFECTS_COLUMNS[0], "predictor", *EFFECTS_COLUMNS[1:]]
    assert table.predictor.fillna("").tolist() == ["a", "b", "", "a", "b"]
    alone = random_effects_table([level(1.0, predictors=("a",))], seed=1, resamples=100)
    shared = (
        table[table.predictor.isna() | (table.predictor == "a")]
        .drop(columns="predictor")
        .reset_index(drop=True)
    )
    np.testing.assert_allclose(shared.iloc[:, 3:], alone.iloc[:, 3:], rtol=1e-12)


def test_subjects_are_resampled_and_not_their_random_effects():
    # The same random effect three times over carries no more information than once.
    once = level(1.0, k=1)
    thrice = dataclasses.replace(
        once,
        eta_hat=np.repeat(once.eta_hat, 3, axis=1),
        eta_approx=np.repeat(once.eta_approx, 3, axis=1),
        eta_pred={"network": np.repeat(once.eta_pred["network"], 3, axis=1)},
    )
    tables = [random_effects_table([x], seed=1, resamples=200) for x in (once, thrice)]
    np.testing.assert_allclose(tables[0].iloc[:, 3:], tables[1].iloc[:, 3:], rtol=1e-9)


def test_interval_of_mse_matches_the_standard_error_over_subjects():
    x = level(0.0, n=4000)
    row = random_effects_table([x], seed=1, resamples=4000).iloc[1]
    per_subject = ((x.eta_hat - x.eta_approx) ** 2).mean(axis=1)
    assert row.mse_high - row.mse_low == pytest.approx(2 * 1.96 * per_subject.std() / 4000**0.5, rel=0.05)


def test_noise_levels_share_their_resamples():
    both = random_effects_table([level(0.0), level(9.0)], seed=1, resamples=100)
    second = random_effects_table([level(9.0)], seed=1, resamples=100)
    np.testing.assert_allclose(both.iloc[3:, 3:], second.iloc[:, 3:], rtol=1e-12)


def test_columns_and_rows_of_the_nll_table():
    levels = [records(0.0), records(1.0)]
    table = longitudinal_nll_table(levels, np.zeros((500, 21)), residual_sd=0.01, seed=1, resamples=200)
    assert list(table.columns) == NLL_COLUMNS
    assert table.population.tolist() == POPULATIONS * 2
    assert table.noise_variance.tolist() == [0.0] * 5 + [1.0] * 5
    assert (table.nll_low < table.nll).all() and (table.nll < table.nll_high).all()
    # Outcomes that are b + error, b ~ N(0, s²), have 21 (s/σ)²/2 on top of the truth's NLL.
    truth = 21 * (0.5 * math.log(2 * math.pi) + math.log(0.01) + 0.5)
    excess = {"true": 0.0, "predicted": 0.02, "approximate": 0.01, "average": 0.05, "random": 0.1}
    for _, row in table.iterrows():
        expected = truth + 21 * (excess[row.population] / 0.01) ** 2 / 2
        assert row.nll == pytest.approx(expected, abs=4 * (row.nll_high - row.nll_low) / 3.92)


def test_two_predictors_have_a_row_each_in_the_nll_table():
    one = records(0.0, predictors=("a", "b"))
    table = longitudinal_nll_table([one], np.zeros((500, 21)), residual_sd=0.01, seed=1, resamples=100)
    assert list(table.columns) == [NLL_COLUMNS[0], "predictor", *NLL_COLUMNS[1:]]
    assert table.predictor.fillna("").tolist() == ["", "a", "b", "", "", ""]


def test_random_population_is_standard_normal_keyed_by_subject_and_level():
    drawn = random_population(1.0, 0, 50_000, 3, seed=1)
    assert drawn.mean() == pytest.approx(0, abs=4 / 150_000**0.5)
    assert drawn.var() == pytest.approx(1, abs=4 * (2 / 150_000) ** 0.5)
    np.testing.assert_array_equal(random_population(1.0, 40, 60, 3, seed=1), drawn[40:60])
    assert not np.allclose(random_population(9.0, 40, 60, 3, seed=1), drawn[40:60])


def test_bad_input_is_one_clear_line(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside tests
    good = level(1.0)
    short = dataclasses.replace(good, eta_pred={"network": good.eta_pred["network"][:-1]})
    with pytest.raises(
        ValueError, match=r"eta_pred \(network\) at σ² = 1: expected .* \(600, 3\), got \(599, 3\)"
    ):
        random_effects_table([short], seed=1, resamples=100)
    holed = good.eta_approx.copy()
    holed[[7, 9], 1] = np.nan
    with pytest.raises(ValueError, match=r"eta_approx at σ² = 1: 2 subjects .* not finite, first is row 7"):
        random_effects_table([dataclasses.replace(good, eta_approx=holed)], seed=1, resamples=100)
    with pytest.raises(ValueError, match=r"same test subjects, got \[500, 600\]"):
        random_effects_table([good, level(9.0, n=500)], seed=1, resamples=100)
    with pytest.raises(ValueError, match="at least one noise level"):
        random_effects_table([], seed=1, resamples=100)
    with pytest.raises(ValueError, match=r"true at σ² = 0: expected .* \(500, 20\), got \(500, 21\)"):
        longitudinal_nll_table([records(0.0)], np.zeros((500, 20)), residual_sd=0.01, seed=1, resamples=100)
