"""Visits that are missing not at random: a network must be trained on the mechanism."""

import numpy as np
from scipy.special import expit

from covary import nlme
from covary.amortised.problem import FunctionSimulator, simulated
from covary.amortised.train import Training, train
from covary.evaluate.coverage import DRAWS, rank_test, ranks

TIMES_H = np.array([0.0, 1.0, 2.0])
N = 1000
SETTINGS = Training(layers=2, width=16, batch=256, steps=40, rounds=8)  # the program of `test_amortised`


def line(present):
    """y = φ₁ + φ₂ t + ε with missing visits."""
    return FunctionSimulator(TIMES_H, 2, lambda phi: phi[:, :1] + phi[:, 1:] * TIMES_H, 0.5, present)


def high_ones_stay_away(phi, u):
    """The larger φ₁, the more visits are missing; half of all visits are."""
    return u[:, 1:] > expit(2 * phi[:, :1])


def at_random(phi, u):
    """As many visits are missing, whatever φ is."""
    return u[:, 1:] > 0.5


def test_a_network_is_calibrated_if_it_was_trained_on_the_mechanism(tmp_path):
    nlme.configure()
    phi, y = simulated(line(high_ones_stay_away), 0, N, seed=2, stream="test")
    p = {}
    for mechanism in (high_ones_stay_away, at_random):
        trained, _ = train(line(mechanism), SETTINGS, seed=1, folder=tmp_path / mechanism.__name__)
        drawn, _ = trained.sample(y, DRAWS, seed=3, stream="draws")
        p[mechanism] = rank_test(ranks(phi, drawn))[1]
    assert (p[high_ones_stay_away] > 0.01 / 2).all()
    # φ₁ is in the number of visits that are missing, which this network has learned to ignore.
    assert p[at_random][0] < 1e-4
