import math

import numpy as np
import pytest

from covary import rng
from covary.evaluate import Forecasts, draw_random_effects, ideal_forecast, outcome_table, score_forecast
from covary.resampling import Resamples

N, TIMES, DRAWS = 4_000, 3, 39


def test_scores_of_a_gaussian_forecast_are_those_of_theory():
    # y ~ N(mean, 1); the forecast is right, and knows the mean exactly.
    mean = 2.0 * rng.normal(1, "mean", 0, N, (TIMES,))
    y = mean + rng.normal(1, "y", 0, N, (TIMES,))
    ensemble = mean[:, None] + rng.normal(1, "ensemble", 0, N, (DRAWS, TIMES))
    blind = math.sqrt(5.0) * rng.normal(1, "blind", 0, N, (DRAWS, TIMES))
    scores = {"good": score_forecast(y, ensemble), "no_image": score_forecast(y, blind)}
    table = outcome_table([Forecasts(1.0, y, scores)], Resamples(N, seed=1, resamples=200))
    good, none = (row for _, row in table.iterrows())
    # Var(y) = 5, of which the mean explains 4. CRPS of N(0, s²) in expectation: s/√π.
    for row, r2, sd in ((good, 0.8, 1.0), (none, 0.0, 5**0.5)):
        assert row.r2 == pytest.approx(r2, abs=0.02)
        assert row.crps == pytest.approx(sd / math.sqrt(math.pi), rel=0.03)
        assert row.coverage == pytest.approx(0.95, abs=0.01)
        assert row.r2_low < row.r2 < row.r2_high and row.crps_low < row.crps < row.crps_high


def test_few_draws_do_not_make_the_mean_look_worse():
    mean = rng.normal(1, "mean", 0, N, (TIMES,))
    y = mean + rng.normal(1, "y", 0, N, (TIMES,))
    ensemble = mean[:, None] + rng.normal(1, "ensemble", 0, N, (DRAWS, TIMES))
    many, few = (score_forecast(y, ensemble[:, :d])[:, 0] for d in (DRAWS, 2))
    assert few.mean() == pytest.approx(1.0, abs=4 * few.std() / N**0.5)
    assert many.mean() == pytest.approx(1.0, abs=4 * many.std() / N**0.5)


def test_draws_have_mean_and_covariance_and_belong_to_their_subject():
    covariance = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 0.0]])
    mean = rng.normal(1, "mean", 0, 2_000, (3,))
    drawn = draw_random_effects(mean, covariance, 20, seed=1, stream="s", start=10)
    error = (drawn - mean[:, None]).reshape(-1, 3)
    np.testing.assert_allclose(np.cov(error.T), covariance, atol=0.03)
    later = draw_random_effects(mean[500:], covariance, 20, seed=1, stream="s", start=510)
    np.testing.assert_array_equal(later, drawn[500:])


def test_the_ideal_forecast_is_the_conditional_distribution():
    eta = rng.normal(1, "eta", 0, 20_000, (2,))
    eta_hat = (eta + 3 * rng.normal(1, "r", 0, 20_000, (2,))) / math.sqrt(10)
    mean, covariance = ideal_forecast(eta, 9.0)
    np.testing.assert_allclose(np.cov((eta_hat - mean).T), covariance, atol=0.02)
    assert np.mean((eta_hat - mean) * mean) == pytest.approx(0, abs=0.01)


def test_bad_input_is_named():
    samples = Resamples(4, seed=1, resamples=10)
    with pytest.raises(ValueError, match="forecast of net at σ² = 9: scores are not finite"):
        outcome_table([Forecasts(9.0, np.ones((4, 2)), {"net": np.full((4, 3), np.nan)})], samples)
    with pytest.raises(ValueError, match="at least one noise level"):
        outcome_table([], samples)
