import dataclasses
import math

import jaxtyping
import numpy as np
import pytest

from covary import nlme, rng
from covary.dataset.association import blur, explainable_fraction
from covary.evaluate import (
    POOLED,
    RandomEffects,
    Records,
    calibration_table,
    comparison_table,
    longitudinal_nll_table,
    mean_squared_error,
    r2,
    random_effects_table,
    random_population,
)
from covary.resampling import Resamples

EFFECTS_COLUMNS = ["noise_variance", "predictor", "term_1", "term_2", "random_effect", "mse", "mse_low",
                   "mse_high", "r2", "r2_low", "r2_high", "theoretical_max", "fraction_of_max"]  # fmt: skip
NLL_COLUMNS = [
    *("noise_variance", "predictor", "population", "nll", "nll_low", "nll_high"),
    *("gain", "gain_low", "gain_high"),
]
POPULATIONS = ["true", "predicted", "approximate", "average", "random"]
NAMES = ("eta_ka", "eta_cl", "eta_v")
EFFECTS = [POOLED, *NAMES]


def level(noise_variance, n=600, k=3, predictors=("network",)):
    eta = rng.normal(1, "eta", 0, n, (k,))
    eta_hat = blur(eta, noise_variance, rng.normal(1, f"r/{noise_variance}", 0, n, (k,)))
    eta_approx = 0.7 * eta_hat + 0.4 * rng.normal(1, f"e/{noise_variance}", 0, n, (k,))
    eta_pred = {
        name: eta / (1 + noise_variance) ** 0.5 * (0.5 + 0.1 * i) for i, name in enumerate(predictors)
    }
    # What these predictions leave unexplained of eta_hat.
    left = {
        name: (noise_variance + (0.5 - 0.1 * i) ** 2) / (1 + noise_variance) * np.eye(k)
        for i, name in enumerate(predictors)
    }
    return RandomEffects(noise_variance, NAMES[:k], eta_hat, eta_approx, eta_pred, left)


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


def resamples(n=600, count=100):
    return Resamples(n, seed=1, resamples=count)


def test_columns_and_rows_of_the_random_effects_table():
    levels = [level(0.0), level(9.0)]
    table = random_effects_table(levels, resamples())
    assert list(table.columns) == EFFECTS_COLUMNS
    terms = [("eta_hat", "eta_pred"), ("eta_hat", "eta_approx"), ("eta_approx", "eta_pred")]
    keys = table[["noise_variance", "term_1", "term_2", "random_effect"]].itertuples(index=False, name=None)
    assert list(keys) == [(v, *pair, e) for v in (0.0, 9.0) for pair in terms for e in EFFECTS]
    arrays = {
        x.noise_variance: {
            "eta_hat": x.eta_hat,
            "eta_approx": x.eta_approx,
            "eta_pred": x.eta_pred["network"],
        }
        for x in levels
    }
    for _, row in table.iterrows():
        one, two = (arrays[row.noise_variance][term] for term in (row.term_1, row.term_2))
        if row.random_effect != POOLED:
            j = NAMES.index(row.random_effect)
            one, two = one[:, [j]], two[:, [j]]
        assert row.mse == pytest.approx(mean_squared_error(one, two))
        assert row.r2 == pytest.approx(r2(one, two))
    assert (table.mse_low < table.mse).all() and (table.mse < table.mse_high).all()
    assert (table.r2_low < table.r2).all() and (table.r2 < table.r2_high).all()


def test_maximum_stands_only_where_an_image_explains_eta_hat():
    table = random_effects_table([level(0.0), level(1.0)], resamples())
    from_image = (table.term_1 == "eta_hat") & (table.term_2 == "eta_pred")
    assert (table.theoretical_max.notna() == from_image).all()
    assert (table.fraction_of_max.notna() == from_image).all()
    for _, row in table[from_image].iterrows():
        assert row.theoretical_max == explainable_fraction(row.noise_variance)
        assert row.fraction_of_max == row.r2 / row.theoretical_max


def test_two_predictors_have_their_rows_and_the_estimator_stands_once():
    table = random_effects_table([level(1.0, predictors=("a", "b"))], resamples()).query(
        "random_effect == @POOLED"
    )
    assert table.predictor.fillna("").tolist() == ["a", "b", "", "a", "b"]
    alone = random_effects_table([level(1.0, predictors=("a",))], resamples()).query(
        "random_effect == @POOLED"
    )
    shared = table[table.predictor.isna() | (table.predictor == "a")]
    np.testing.assert_allclose(shared.iloc[:, 5:], alone.iloc[:, 5:], rtol=1e-12)


def test_subjects_are_resampled_and_not_their_random_effects():
    # The same random effect three times over carries no more information than once.
    once = level(1.0, k=1)
    thrice = dataclasses.replace(
        once,
        names=NAMES,
        eta_hat=np.repeat(once.eta_hat, 3, axis=1),
        eta_approx=np.repeat(once.eta_approx, 3, axis=1),
        eta_pred={"network": np.repeat(once.eta_pred["network"], 3, axis=1)},
        covariance={"network": once.covariance["network"] * np.eye(3)},
    )
    tables = [
        random_effects_table([x], resamples(count=200)).query("random_effect == @POOLED")
        for x in (once, thrice)
    ]
    np.testing.assert_allclose(tables[0].iloc[:, 5:], tables[1].iloc[:, 5:], rtol=1e-9)


def test_interval_of_mse_matches_the_standard_error_over_subjects():
    x = level(0.0, n=4000)
    row = random_effects_table([x], resamples(4000, 4000)).iloc[4]
    per_subject = ((x.eta_hat - x.eta_approx) ** 2).mean(axis=1)
    assert row.mse_high - row.mse_low == pytest.approx(2 * 1.96 * per_subject.std() / 4000**0.5, rel=0.05)


def test_noise_levels_share_their_resamples():
    both = random_effects_table([level(0.0), level(9.0)], resamples())
    second = random_effects_table([level(9.0)], resamples())
    np.testing.assert_allclose(both.iloc[len(second) :, 5:], second.iloc[:, 5:], rtol=1e-12)


def test_difference_of_two_predictors_is_paired():
    one = level(1.0, predictors=("a", "b"))
    table = comparison_table([one], resamples(count=500))
    assert list(table.random_effect) == EFFECTS
    scores = random_effects_table([one], resamples(count=500)).query("term_1 == 'eta_hat'")
    r2_of = scores.set_index(["predictor", "random_effect"])["r2"]
    for row in table.itertuples():
        assert row.difference == pytest.approx(r2_of["b", row.random_effect] - r2_of["a", row.random_effect])
    # The predictions differ by a constant factor: errors have much in common, and the pairing takes that out.
    rows = scores.query("random_effect == @POOLED and term_2 == 'eta_pred'")
    assert (table.high - table.low)[0] < 0.5 * (rows.r2_high - rows.r2_low).min()
    # With itself there is no difference, nor any doubt of it.
    same = dataclasses.replace(one, eta_pred=dict.fromkeys("ab", one.eta_pred["a"]))
    itself = comparison_table([same], resamples())[["difference", "low", "high"]]
    np.testing.assert_allclose(itself, 0, atol=1e-12)
    assert comparison_table([level(1.0)], resamples()).empty


def test_intervals_of_a_known_error_cover_what_they_should():
    x = level(1.0, n=4000)
    table = calibration_table([x], resamples(4000))
    assert set(table.level) == {0.5, 0.8, 0.95}
    assert (abs(table.coverage - table.level) < 0.025).all()
    assert (table.low < table.coverage).all() and (table.coverage < table.high).all()
    pooled = table.query("random_effect == @POOLED").set_index("level").coverage
    each = table.query("random_effect != @POOLED").groupby("level").coverage.mean()
    np.testing.assert_allclose(pooled.sort_index(), each.sort_index())
    narrow = dataclasses.replace(x, covariance={"network": 0.25 * x.covariance["network"]})
    half = calibration_table([narrow], resamples(4000)).query("level == 0.95 and random_effect == @POOLED")
    assert half.coverage.item() == pytest.approx(0.673, abs=0.02)  # Φ(0.98) - Φ(-0.98)


def test_columns_and_rows_of_the_nll_table():
    levels = [records(0.0), records(1.0)]
    table = longitudinal_nll_table(
        levels, np.zeros((500, 21)), resamples(500, 200), residual=nlme.Additive(0.01)
    )
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


def test_gains_over_the_average_subject_are_paired():
    levels = [records(0.0, predictors=("a", "b")), records(1.0)]
    table = longitudinal_nll_table(
        levels, np.zeros((500, 21)), resamples(500, 200), residual=nlme.Additive(0.01)
    )
    average = table[table.population == "average"].set_index("noise_variance").nll
    np.testing.assert_allclose(table.gain, average.loc[table.noise_variance].to_numpy() - table.nll)
    same = table[table.population == "average"]
    assert (same[["gain", "gain_low", "gain_high"]] == 0).all(axis=None)
    other = table[table.population != "average"]
    assert ((other.gain_low < other.gain) & (other.gain < other.gain_high)).all()


def test_two_predictors_have_a_row_each_in_the_nll_table():
    one = records(0.0, predictors=("a", "b"))
    table = longitudinal_nll_table([one], np.zeros((500, 21)), resamples(500), residual=nlme.Additive(0.01))
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
        random_effects_table([short], resamples())
    holed = good.eta_approx.copy()
    holed[[7, 9], 1] = np.nan
    with pytest.raises(ValueError, match=r"eta_approx at σ² = 1: 2 subjects .* not finite, first is row 7"):
        random_effects_table([dataclasses.replace(good, eta_approx=holed)], resamples())
    with pytest.raises(ValueError, match=r"same test subjects, got \[500, 600\]"):
        random_effects_table([good, level(9.0, n=500)], resamples())
    with pytest.raises(ValueError, match="at least one noise level"):
        random_effects_table([], resamples())
    with pytest.raises(ValueError, match=r"true at σ² = 0: expected .* \(500, 20\), got \(500, 21\)"):
        longitudinal_nll_table(
            [records(0.0)], np.zeros((500, 20)), resamples(500), residual=nlme.Additive(0.01)
        )
