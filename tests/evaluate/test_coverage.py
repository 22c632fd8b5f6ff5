"""Calibration of posterior draws, where it is known whether they are right."""

import numpy as np
import pytest

from covary import rng
from covary.evaluate.coverage import (
    DRAWS,
    LEVELS,
    calibration_table,
    coverage,
    joint_ranks,
    rank_test,
    ranks,
)

N = 3000
THETA = rng.normal(1, "theta", 0, N, (2,))
# y = θ + ε of variance 1/m, m visits of 4 present: the posterior is N(y m/(1 + m), 1/(1 + m)).
PRESENT = rng.uniform(1, "present", 0, N, (4,)) > 0.25
PRESENT[~PRESENT.any(axis=1), 0] = True
VISITS = PRESENT.sum(axis=1)[:, None].astype(float)
Y = THETA + rng.normal(1, "error", 0, N, (2,)) / np.sqrt(VISITS)


def posterior(visits):
    """Draws of somebody who thinks that so many visits are present."""
    mean, sd = Y * visits / (1 + visits), 1 / np.sqrt(1 + visits)
    return mean[:, None] + sd[:, None] * rng.normal(1, "draws", 0, N, (DRAWS, 2))


def test_draws_of_the_posterior_are_calibrated_in_every_stratum():
    table = calibration_table(THETA, posterior(VISITS), PRESENT, ["a", "b"])
    assert table["missing"].unique().tolist() == ["all", "0", "to 30 %", "to 60 %", "over 60 %"]
    assert (table["p"] > 0.01 / len(table)).all()
    whole = table[table["missing"] == "all"]
    for level in LEVELS:
        assert whole[f"coverage_{100 * level:.0f}"].to_numpy() == pytest.approx(level, abs=0.02)
    by_share = table[table["parameter"] == "a"].set_index("missing")
    assert by_share.loc["0", "contraction"] == pytest.approx(0.8, abs=0.03)
    assert by_share.loc["0", "contraction"] > by_share.loc["to 60 %", "contraction"]


def test_draws_that_are_blind_to_what_is_missing_are_rejected():
    blind = posterior(np.full_like(VISITS, 4.0))
    table = calibration_table(THETA, blind, PRESENT, ["a", "b"])
    assert (table.query("missing == 'to 60 %'")["p"] < 1e-6).all()
    assert (coverage(THETA, blind, 0.9) < 0.88).all()


def test_ranks_count_draws_below_and_fill_bins_evenly():
    draws = np.arange(DRAWS, dtype=float)[None, :, None]
    np.testing.assert_array_equal(ranks(np.array([[-1.0]]), draws), [[0]])
    np.testing.assert_array_equal(ranks(np.array([[1e3]]), draws), [[DRAWS]])
    even = np.arange(DRAWS + 1)[:, None]
    statistic, p = rank_test(even)
    assert statistic[0] == 0 and p[0] == 1
    with pytest.raises(ValueError, match="multiple of 25, got 250 draws"):
        rank_test(even, 250)


@pytest.mark.parametrize("level", [*LEVELS, 0.3])
def test_coverage_of_even_ranks_is_the_nominal_level(level):
    draws = np.broadcast_to(np.arange(DRAWS, dtype=float)[:, None], (DRAWS + 1, DRAWS, 1))
    truth = np.arange(DRAWS + 1)[:, None] - 0.5  # has each rank once
    np.testing.assert_allclose(coverage(truth, draws, level), level, rtol=1e-12)
    table = calibration_table(truth, draws, np.ones((DRAWS + 1, 1), dtype=bool), ["a"])
    for nominal in LEVELS:
        assert table[f"coverage_{100 * nominal:.0f}"].iloc[0] == pytest.approx(nominal, abs=1e-12)


def test_a_joint_check_sees_what_ranks_of_single_parameters_do_not():
    reference = rng.normal(1, "reference", 0, N, (2,))
    right = posterior(VISITS)
    assert rank_test(joint_ranks(THETA, right, reference))[1] > 1e-3
    # Each parameter keeps its distribution, but the draws of both are one: their posterior is independent.
    mean, sd = Y * VISITS / (1 + VISITS), 1 / np.sqrt(1 + VISITS)
    z = rng.normal(1, "draws", 0, N, (DRAWS, 1))
    tied = mean[:, None] + sd[:, None] * z
    assert (rank_test(ranks(THETA, tied))[1] > 1e-3).all()
    assert rank_test(joint_ranks(THETA, tied, reference))[1] < 1e-6
    table = calibration_table(THETA, right, PRESENT, ["a", "b"], reference)
    joint = table[table["parameter"] == "joint"]
    assert len(joint) == len(table) / 3 and joint["coverage_90"].iloc[0] == pytest.approx(0.9, abs=0.02)
