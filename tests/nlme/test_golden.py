"""Published data sets and the values that NONMEM, nlmixr2 and independent calculations agree on."""

from pathlib import Path

import numpy as np
import pytest
from published_models import Decay

from covary import nlme

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def wang():
    return nlme.read_nonmem(DATA / "wang2007_nonmem.csv")


@pytest.fixture(scope="module")
def theoph():
    return nlme.read_nonmem(DATA / "theoph_nonmem.csv")


@pytest.fixture(scope="module")
def oral():
    return nlme.OneCompartmentOral()


@pytest.fixture(scope="module")
def optimum(oral, theoph):
    return nlme.fit_population(oral, theoph, oral.default_parameters(), method="focei")


WANG = {
    nlme.Additive: dict(fo=0.025774, foce=-2.058795, focei=-2.058795, laplace=-1.936123, laplacei=-1.936123),
    nlme.Proportional: dict(
        fo=39.213222, foce=39.206716, focei=39.457550, laplace=39.221817, laplacei=39.226847
    ),
    nlme.LogNormal: dict(
        fo=40.055453, foce=40.038715, focei=40.038715, laplace=40.030209, laplacei=40.030209
    ),
}


@pytest.mark.parametrize("method", ["fo", "foce", "focei", "laplace", "laplacei"])
@pytest.mark.parametrize("error", WANG, ids=lambda error: error.__name__)
def test_wang_2007_ofv_of_every_method(wang, error, method):
    parameters = Decay().parameters([0.5], 0.04, error(0.1**0.5))
    ofv = nlme.objective(Decay(), parameters, wang, method=method).ofv.sum()
    assert ofv == pytest.approx(WANG[error][method], abs=1e-6)


@pytest.mark.parametrize(
    ("adds", "focei", "foce"), [("variances", 39.735, 39.499), ("standard_deviations", 43.554, 43.394)]
)
def test_wang_2007_with_combined_error(wang, adds, focei, foce):
    parameters = Decay().parameters([0.5], 0.04, nlme.Combined(0.1**0.5, 0.1**0.5, adds))
    assert nlme.objective(Decay(), parameters, wang, method="focei").ofv.sum() == pytest.approx(
        focei, abs=6e-4
    )
    assert nlme.objective(Decay(), parameters, wang, method="foce").ofv.sum() == pytest.approx(foce, abs=6e-4)


@pytest.mark.parametrize(
    ("error", "ofv", "within"),
    [(nlme.Additive, -1.989614, 1e-6), (nlme.Proportional, 39.354803, 1e-6), (nlme.LogNormal, 40.0769, 1e-4)],
)
def test_wang_2007_by_quadrature(wang, error, ofv, within):
    parameters = Decay().parameters([0.5], 0.04, error(0.1**0.5))
    assert nlme.adaptive_quadrature(Decay(), parameters, wang, points=31).sum() == pytest.approx(
        ofv, abs=within
    )


@pytest.mark.parametrize(
    ("method", "ofv"), [("fo", 141.25645274), ("focei", 133.56588716), ("laplacei", 135.52266135)]
)
def test_theoph_ofv_at_the_tutorial_start(oral, theoph, method, ofv):
    found = nlme.objective(oral, oral.default_parameters(), theoph, method=method).ofv.sum()
    assert found == pytest.approx(ofv, abs=1e-7)


@pytest.mark.parametrize(("points", "ofv"), [(1, 135.52266135), (3, 135.03108108), (7, 134.86019883)])
def test_theoph_quadrature_ladder(oral, theoph, points, ofv):
    found = nlme.adaptive_quadrature(oral, oral.default_parameters(), theoph, points=points).sum()
    assert found == pytest.approx(ofv, abs=2e-6)


def test_theoph_optimum(optimum):
    assert optimum.converged, optimum.verdict
    assert optimum.objective == pytest.approx(116.803413, abs=1e-4)
    assert optimum.minus_two_log_likelihood == pytest.approx(359.403186, abs=1e-4)
    assert (optimum.aic, optimum.bic) == pytest.approx((373.403186, 393.582799), abs=1e-4)
    estimates = np.array([float(value) for value in optimum.parameters.natural().values()])
    expected = [0.463883, 1.012158, 3.459745, 0.402356, 0.069095, 0.019160, 0.694409]
    np.testing.assert_allclose(estimates, expected, rtol=5e-5)


def test_theoph_empirical_bayes_estimates(oral, theoph, optimum):
    modes = nlme.empirical_bayes(oral, optimum.parameters, theoph)
    np.testing.assert_allclose(modes.eta[0], [0.08622, -0.47432, -0.09134], atol=1e-4)
    np.testing.assert_allclose(modes.eta[8], [1.36322, 0.04527, -0.00029], atol=1e-4)
    ofv = nlme.objective(oral, optimum.parameters, theoph, method="focei").ofv
    np.testing.assert_allclose(ofv[[0, 8]], [12.59787, 8.41413], atol=1e-4)


def test_theoph_standard_errors_shrinkage_and_table(optimum):
    np.testing.assert_allclose(optimum.standard_errors()[:3], [0.1918, 0.0835, 0.0466], atol=6e-5)
    np.testing.assert_allclose(optimum.standard_errors("sandwich")[:3], [0.1987, 0.0738, 0.0430], atol=6e-5)
    np.testing.assert_allclose(100 * optimum.shrinkage(), [1.76, 3.87, 10.3], rtol=0.01)
    np.testing.assert_allclose(optimum.table()["bsv_cv_percent"].dropna(), [70.4, 26.7, 13.9], rtol=0.003)
    assert "116.8034" in optimum.summary()


@pytest.mark.parametrize(
    ("residual", "method", "ofv"),
    [
        (nlme.Additive(0.7), "laplacei", 118.503577),
        pytest.param(nlme.Additive(0.7), "fo", 103.869086, marks=pytest.mark.slow),
        pytest.param(nlme.Combined(0.5, 0.1), "focei", 104.322084, marks=pytest.mark.slow),
    ],
)
def test_theoph_other_methods_and_errors(oral, theoph, residual, method, ofv):
    start = oral.parameters([0.45, 1.0, 3.45], [0.6, 0.3, 0.1], residual)
    fit = nlme.fit_population(oral, theoph, start, method=method, covariance=False)
    assert fit.converged, fit.verdict
    assert fit.objective == pytest.approx(ofv, abs=1e-4)


def test_theoph_with_full_omega_that_wants_to_be_singular(oral, theoph):
    omega = np.diag([0.6, 0.3, 0.1]) + 0.01 * (1 - np.eye(3))
    start = oral.parameters([0.45, 1.0, 3.45], omega, nlme.Additive(0.7))
    fit = nlme.fit_population(oral, theoph, start, method="focei", covariance=False)
    assert fit.objective == pytest.approx(105.184170, abs=1e-3)
    assert np.all(np.isfinite(fit.parameters.omega))


def test_gradient_of_the_ofv_at_the_tutorial_start(oral, theoph):
    expected = [-0.93122218, -1.1112848, -3.04382827, 5.90191971, 17.68512038, 17.39246623, 2.99197206]
    gradient = nlme.objective(oral, oral.default_parameters(), theoph, method="focei", gradient=True).gradient
    np.testing.assert_allclose(gradient.sum(axis=1), expected, atol=1e-6)
