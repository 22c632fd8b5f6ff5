import numpy as np

from covary import rng
from covary.phantom.fields import smooth_curve, smooth_field


def test_curves_have_unit_variance_at_every_point():
    curves = smooth_curve(rng.generator(1, "test"), width=64, knots=7, curves=20_000)
    np.testing.assert_allclose(curves.mean(axis=0), 0, atol=0.04)
    np.testing.assert_allclose(curves.var(axis=0), 1, atol=0.05)


def test_correlation_dies_out_over_four_knots():
    curves = smooth_curve(rng.generator(2, "test"), width=80, knots=8, curves=20_000)
    near, far = (np.corrcoef(curves[:, 20], curves[:, 20 + lag])[0, 1] for lag in (2, 41))
    assert near > 0.95
    assert abs(far) < 0.03


def test_a_field_has_its_shape_and_unit_variance():
    field = smooth_field(rng.generator(3, "test"), (300, 400), (60, 80))
    assert field.shape == (300, 400)
    assert abs(field.var() - 1) < 0.1
