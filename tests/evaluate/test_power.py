import dataclasses

import jaxtyping
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covary import rng
from covary.dataset.association import blur
from covary.evaluate import TrainingSizes, learning_curves, r2
from covary.evaluate.power import PowerLaw, subjects_for_power
from covary.resampling import Resamples

SIZES = np.array([100, 200, 400, 800])
CARRIED = {1.0: 0.45}


def training(noise_variance=1.0, n=3_000, limit=0.4, drop=0.1, exponent=0.5):
    """Calibrated predictions whose R² follows the power law, up to the sampling of subjects."""
    eta = rng.normal(1, "eta", 0, n, (3,))
    eta_hat = blur(eta, noise_variance, rng.normal(1, "r", 0, n, (3,)))
    eta_approx = 0.7 * eta_hat + 0.4 * rng.normal(1, "e", 0, n, (3,))
    explainable = 1 / (1 + noise_variance)
    predictions = []
    for size in SIZES:
        r2 = limit - drop * (size / SIZES[-1]) ** -exponent
        share = r2 / explainable  # of the signal's variance
        noise = rng.normal(1, "prediction", 0, n, (3,))
        predictions.append(explainable**0.5 * (share * eta + (share * (1 - share)) ** 0.5 * noise))
    return TrainingSizes(noise_variance, "network", eta_hat, eta_approx, SIZES, np.stack(predictions))


def test_an_exact_power_law_is_recovered():
    limit, drop, exponent = np.array([0.45, 0.3]), np.array([0.05, 0.02]), np.array([0.5, 1.0])
    y = limit[:, None] - drop[:, None] * (SIZES / 800) ** -exponent[:, None]
    law = PowerLaw.fit(SIZES, y, most=0.5)
    np.testing.assert_allclose(law.exponent, exponent, rtol=0.03)
    np.testing.assert_allclose(law.limit, limit, atol=0.01)
    np.testing.assert_allclose(law(SIZES[None].astype(float)), y, atol=5e-4)


def test_fits_keep_to_their_bounds():
    y = rng.normal(1, "y", 0, 200, (4,)) * 0.1
    law = PowerLaw.fit(SIZES, y, most=0.05)
    assert (law.limit <= 0.05).all() and (law.drop >= 0).all()
    # A constant is always allowed, and nothing that is allowed fits better than what was found.
    loss = ((y - law(SIZES[None].astype(float))) ** 2).sum(axis=1)
    constant = np.clip(y.mean(axis=1), 0.0, 0.05)
    assert (loss <= ((y - constant[:, None]) ** 2).sum(axis=1) + 1e-12).all()
    for limit, drop, exponent in ((0.05, 0.02, 0.5), (0.05, 0.01, 1.9), (0.05, 0.1, 0.2), (0.02, 0.01, 1.0)):
        other = np.maximum(limit - drop * (SIZES / 800) ** -exponent, 0.0)
        assert (loss <= ((y - other) ** 2).sum(axis=1) + 4e-4).all()  # exponents are those of a grid


@given(
    st.tuples(st.floats(0.0, 0.5), st.floats(0.0, 0.4), st.floats(0.1, 2.0)),
    st.lists(st.floats(-0.02, 0.02), min_size=4, max_size=4),
)
def test_no_law_fits_better(law, errors):
    limit, drop, exponent = law
    truth = np.maximum(limit - drop * (SIZES / 800) ** -exponent, 0.0)
    y = truth + np.array(errors)
    found = PowerLaw.fit(SIZES, y[None], most=0.5)(SIZES[None].astype(float))
    # The grid of exponents is 2.5 % fine; between two of them the law moves by less than 0.01.
    assert np.linalg.norm(y - found) <= np.linalg.norm(errors) + 0.01


def test_what_was_learned_last_is_not_lost_among_sizes_that_taught_nothing():
    y = np.array([[-1e-4, -3e-4, -2e-4, 0.06], [4e-3, 3e-3, 1e-3, 0.06]])
    law = PowerLaw.fit(SIZES, y, most=0.1)
    np.testing.assert_allclose(law(SIZES[None].astype(float)), np.maximum(y, 0.0), atol=5e-3)
    between = law(np.full((2, 1), 600.0))
    assert ((between > 0.02) & (between < 0.06)).all()
    # One size does not tell a limit: the laws through it have others, up to all there is.
    ends = PowerLaw.fit(SIZES, y[[0, 0]], most=0.1, choice=np.array([0.0, 1.0]))
    np.testing.assert_allclose(ends(SIZES[None].astype(float)), np.maximum(y[[0, 0]], 0.0), atol=1e-3)
    assert ends.limit[0] > 0.095 and ends.limit[1] < 0.085 and ends.exponent[1] == pytest.approx(2.0)


def test_the_number_of_subjects_has_the_power_it_is_for():
    rho = 0.3
    n = int(subjects_for_power(np.array(rho**2)))
    assert n == 85  # ((1.95996 + 0.84162)/artanh 0.3)² + 3 = 84.9
    repeats = 4_000
    x, e = rng.normal(1, "power", 0, repeats, (2, n)).transpose(1, 0, 2)
    y = rho * x + (1 - rho**2) ** 0.5 * e
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    r = (x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1))
    detected = np.abs(np.arctanh(r)) * (n - 3) ** 0.5 > 1.96
    assert detected.mean() == pytest.approx(0.8, abs=0.02)
    assert np.isinf(subjects_for_power(np.array([0.0, -0.1]))).all()


def test_curves_and_power_of_a_known_law():
    one = training()
    curve, power = learning_curves([one], Resamples(3_000, seed=1, resamples=200), CARRIED)
    measured = curve[curve.kind == "measured"].set_index("subjects")
    truth = 0.4 - 0.1 * (SIZES / 800) ** -0.5
    np.testing.assert_allclose(measured.r2, truth, atol=0.04)
    assert ((measured.low < truth) & (truth < measured.high)).all()
    fitted = curve[curve.kind == "fitted"]
    assert fitted.subjects.max() == pytest.approx(8_000) and (np.diff(fitted.r2) >= 0).all()
    assert (fitted.high <= 0.5).all() and (curve.theoretical_max == 0.5).all()
    row = power.iloc[0]
    assert row.limit_low <= 0.4 <= row.limit_high
    assert row.reliability == pytest.approx(0.49 / 0.65, abs=0.02)
    assert row.ideal <= row.carried <= row.trained <= row.from_scratch
    assert row.carried == subjects_for_power(np.array(0.45 * row.reliability))
    assert row.bound == 0.5 and row.informative_sizes == 4 and np.isnan(row.training_sd) and not row.decides
    assert row.trained_low <= row.trained <= row.trained_high
    # At the number found, training on so many gives just the correlation that they suffice to detect.
    law = PowerLaw.fit(SIZES, measured.r2.to_numpy()[None], most=0.5)
    n = row.from_scratch
    needed = subjects_for_power(law(np.array([[n]])) * row.reliability)
    assert needed == pytest.approx(n, rel=0.15)


def test_where_nothing_is_learned_no_number_is_enough():
    one = training()
    blind = dataclasses.replace(one, eta_pred=rng.normal(1, "blind", 0, 4, (3_000, 3)))
    _, power = learning_curves([blind], Resamples(3_000, seed=1, resamples=100), CARRIED)
    row = power.iloc[0]
    assert np.isinf(row[["trained", "from_scratch", "from_scratch_high"]].astype(float)).all()
    assert row.trained_low == row.from_scratch_low == SIZES[-1]  # nothing is known beyond it
    assert row.ideal < 100 and row.informative_sizes == 0 and not row.decides
    assert np.isnan(row[["limit", "limit_low", "exponent_high"]].astype(float)).all()


def test_one_size_at_which_something_was_learned_makes_no_curve():
    one = training()
    eta_pred = np.concatenate([rng.normal(1, "blind", 0, 3, (3_000, 3)), one.eta_pred[-1:]])
    late = dataclasses.replace(one, eta_pred=eta_pred)
    _, power = learning_curves([late], Resamples(3_000, seed=1, resamples=100), CARRIED)
    row = power.iloc[0]
    assert row.informative_sizes == 1 and np.isinf(row.from_scratch) and np.isnan(row.limit)
    assert np.isfinite(row.trained)


def test_variation_between_trainings_widens_the_intervals():
    one, samples = training(), Resamples(3_000, seed=1, resamples=1_000)
    sizes = np.array([*SIZES[:-1].repeat(3), SIZES[-1]])
    shift = np.array([0.1, 0.2, 0.3] * 3 + [0.1])  # a constant added to predictions lowers R²
    eta_pred = np.concatenate([one.eta_pred[:-1].repeat(3, axis=0), one.eta_pred[-1:]])
    repeated = dataclasses.replace(one, sizes=sizes, eta_pred=eta_pred + shift[:, None, None])
    curve, power = learning_curves([repeated], samples, CARRIED)
    measured, row = curve[curve.kind == "measured"], power.iloc[0]
    assert measured.trainings.tolist() == [3, 3, 3, 1] and row.decides
    single = [r2(one.eta_hat, p) for p in repeated.eta_pred]
    groups = np.reshape(single[:-1], (3, 3))
    np.testing.assert_allclose(measured.r2, [*groups.mean(axis=1), single[-1]])
    assert row.training_sd == pytest.approx(np.sqrt(groups.var(axis=1, ddof=1).mean()))
    # The interval of the largest size, trained once, is that of Student's t with 6 degrees of freedom.
    half_width = (measured.high - measured.low).iloc[-1] / 2
    assert half_width == pytest.approx(2.447 * row.training_sd, rel=0.15)


def test_bad_input_is_named(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside tests
    one = training(n=50)
    samples = Resamples(50, seed=1, resamples=10)
    few = dataclasses.replace(one, sizes=SIZES[:3], eta_pred=one.eta_pred[:3])
    with pytest.raises(ValueError, match=r"network at σ² = 1: expected at least 4 increasing sizes"):
        learning_curves([few], samples, CARRIED)
    with pytest.raises(ValueError, match=r"4 trainings, but predictions of 3"):
        learning_curves([dataclasses.replace(one, eta_pred=one.eta_pred[:3])], samples, CARRIED)
    holed = one.eta_pred.copy()
    holed[1, 5] = np.nan
    with pytest.raises(ValueError, match=r"network at σ² = 1, 200 training subjects: 1 subjects"):
        learning_curves([dataclasses.replace(one, eta_pred=holed)], samples, CARRIED)
