import numpy as np
import pytest
import torch

from covary.predict import PredictorNetwork, calibrate, predict
from covary.training.device import place

FACTOR = np.array([[0.5, 0.0, 0.0], [0.3, 0.4, 0.0], [0.0, -0.2, 0.3]])
SHIFT = np.array([0.3, 0.0, -0.5])


@pytest.fixture
def known():
    """Inputs, a network that predicts 0 wherever its bias does not, and random effects around that bias."""
    network = place(PredictorNetwork("oracle", 3, 3, 1))
    network.start_at(torch.from_numpy(SHIFT))
    draws = np.random.default_rng(1)
    inputs = draws.normal(size=(4000, 3))
    return network, inputs, draws.normal(size=(4000, 3)) @ FACTOR.T


def test_a_centred_prediction_has_mean_zero_and_the_covariance_of_its_errors(known):
    network, inputs, eta_hat = known
    calibrate(network, inputs, eta_hat, structure="full", centre=True)
    np.testing.assert_allclose(predict(network, inputs).mean(axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose(network.covariance.cpu(), FACTOR @ FACTOR.T, atol=0.03)


def test_bias_that_stays_widens_the_intervals(known):
    network, inputs, eta_hat = known
    calibrate(network, inputs, eta_hat, structure="diagonal", centre=False)
    expected = np.diag(np.diag(FACTOR @ FACTOR.T) + SHIFT**2)
    np.testing.assert_allclose(network.covariance.cpu(), expected, atol=0.03)
