import numpy as np
from scipy import stats

from covary import rng
from covary.phantom.optics import NOISE_FLOOR, blur, display, log_speckle, power, quantise


def test_forty_decibels_span_the_display():
    np.testing.assert_allclose(power(np.array([1.0, 0.5, 0.0])), [1, 1e-2, 1e-4], rtol=1e-5)


def test_grey_levels_are_affine_in_the_display_value():
    value = np.array([[0.3, 0.6, 0.9]])
    bare = (power(value) - power(NOISE_FLOOR)).astype(np.float32)  # so that the floor adds up to the value
    grey = display(bare, luminance=0.1, gain=0.8)
    np.testing.assert_allclose(grey, 255 * (0.1 + 0.8 * value), rtol=1e-4)


def test_grey_levels_are_rounded_and_clipped():
    assert quantise(np.array([[-9.0, 0.4, 0.6, 254.5, 400.0]], np.float32)).tolist() == [[0, 0, 1, 255, 255]]


def test_blur_spreads_a_point_binomially_and_keeps_a_constant():
    point = np.zeros((5, 5), np.float32)
    point[2, 2] = 16
    expected = np.zeros((5, 5))
    expected[1:4, 1:4] = np.outer([1, 2, 1], [1, 2, 1])
    np.testing.assert_allclose(blur(point), expected)
    np.testing.assert_allclose(blur(np.full((4, 6), 3, np.float32)), 3)


def test_speckle_is_gamma_distributed_with_the_given_looks():
    for looks in (4.0, 9.0, 16.0):
        speckle = log_speckle((600, 800), looks, rng.generator(int(looks), "test"))
        gamma = 10 ** (4 * speckle.astype(np.float64))
        assert abs(gamma.mean() - 1) < 0.01
        assert abs(gamma.var() * looks - 1) < 0.03
        apart = gamma[::4, ::6].ravel()  # beyond the point spread: independent
        assert stats.kstest(apart, stats.gamma(looks, scale=1 / looks).cdf).pvalue > 1e-3


def test_speckle_is_correlated_over_a_pixel():
    speckle = log_speckle((600, 800), 9.0, rng.generator(1, "test"))

    def correlation(a, b):
        return np.corrcoef(a.ravel(), b.ravel())[0, 1]

    # Autocorrelation of the binomial kernels: 4/6 and 1/6 down, 56/70 along.
    assert abs(correlation(speckle[1:], speckle[:-1]) - 4 / 6) < 0.02
    assert abs(correlation(speckle[2:], speckle[:-2]) - 1 / 6) < 0.02
    assert abs(correlation(speckle[:, 1:], speckle[:, :-1]) - 56 / 70) < 0.02
