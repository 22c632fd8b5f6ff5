import numpy as np
import pytest

from covary import rng
from covary.resampling import Resamples, exchangeable, percentile_interval, systematic


def resampled_sums(statistics, *, seed, resamples):
    return Resamples(len(statistics), seed=seed, resamples=resamples).sums(statistics)


def interval_of_mean(x, *, seed, resamples=1000):
    low, high = percentile_interval(resampled_sums(x[:, None], seed=seed, resamples=resamples)[:, 0] / len(x))
    return float(low), float(high)


def test_sums_are_those_of_drawn_subjects():
    n, b = 40, 200
    counts = resampled_sums(np.eye(n), seed=3, resamples=b)
    assert (counts.sum(axis=1) == n).all()
    assert (counts == counts.astype(int)).all() and counts.min() == 0
    # Counts are multinomial: mean 1, variance 1 - 1/n.
    assert counts.var() == pytest.approx(1 - 1 / n, rel=0.1)
    statistics = rng.normal(1, "statistics", 0, n, (2,))
    np.testing.assert_allclose(resampled_sums(statistics, seed=3, resamples=b), counts @ statistics)


def test_first_resamples_do_not_depend_on_how_many_follow():
    x = rng.normal(1, "x", 0, 30, (2,))
    long = resampled_sums(x, seed=1, resamples=70)
    np.testing.assert_allclose(resampled_sums(x, seed=1, resamples=5), long[:5], rtol=1e-12)
    assert not np.allclose(resampled_sums(x, seed=2, resamples=5), long[:5])


def test_standard_error_of_a_gaussian_mean():
    n = 2_000
    x = rng.normal(1, "x", 0, n, (1,))[:, 0]
    means = resampled_sums(x[:, None], seed=1, resamples=4_000)[:, 0] / n
    assert means.std() == pytest.approx(x.std() / n**0.5, rel=0.04)
    low, high = interval_of_mean(x, seed=1, resamples=4_000)
    assert high - low == pytest.approx(2 * 1.96 * x.std() / n**0.5, rel=0.05)


def test_intervals_cover_the_mean_of_a_gaussian():
    n, repeats = 100, 300
    samples = rng.normal(5, "samples", 0, repeats, (n,))
    covered = sum(
        low <= 0 <= high
        for low, high in (interval_of_mean(x, seed=i, resamples=200) for i, x in enumerate(samples))
    )
    # 95 % less a little for the percentile method at n = 100; binomial standard error 1.3 %.
    assert covered / repeats == pytest.approx(0.945, abs=0.035)


def test_another_number_of_subjects_is_refused():
    with pytest.raises(ValueError, match="expected 5 subjects, got 4"):
        Resamples(5, seed=1, resamples=10).sums(np.ones((4, 2)))


def test_systematic_draws_follow_the_weights_to_within_one():
    weight = rng.uniform(1, "w", 0, 40, (7,))
    chosen = systematic(weight * 1e6, rng.uniform(1, "offset", 0, 40, (1,)), 50)
    counts = np.stack([np.bincount(c, minlength=7) for c in chosen])
    assert np.abs(counts - 50 * weight / weight.sum(axis=1, keepdims=True)).max() < 1


def test_exchangeable_draws_are_the_systematic_ones_in_a_drawn_order():
    weight, u = rng.uniform(1, "w", 0, 200, (7,)), rng.uniform(1, "u", 0, 200, (51,))
    some = exchangeable(weight, u)
    np.testing.assert_array_equal(np.sort(some, axis=1), systematic(weight, u[:, :1], 50))
    assert abs(some[:, 0].mean() - some[:, -1].mean()) < 4 * 3 / np.sqrt(200)  # the first is not the least
