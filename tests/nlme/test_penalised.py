"""Penalised FOCEI and Laplace: gradients of what the modes of random effects move with."""

from pathlib import Path

import numpy as np
import pytest

from covary import nlme
from covary.errors import UserError
from covary.nlme.neural import prior_precision, weights_of, with_weights
from covary.nlme.penalised import fit_penalised, penalised_objective

TIMES = np.arange(5.0)


@pytest.fixture(scope="module")
def problem():
    """Records that a network can describe, and a network that is not trivial."""
    model = nlme.LatentRecord(1, width=3, time_scale_h=4.0)
    random = np.random.default_rng(2)
    weights = weights_of(model)
    model = with_weights(model, weights + 0.5 * random.normal(size=weights.size))
    design = nlme.Design.regular(TIMES, n_subjects=6)
    curves = np.outer(np.linspace(-1, 1, 6), np.sin(TIMES)) + 0.1 * random.normal(size=(6, 5))
    return model, model.default_parameters(), nlme.Records.of(design, curves)


@pytest.mark.parametrize("method", ["focei", "laplacei"])
def test_gradients_equal_differences_of_the_objective_at_modes_found_again(problem, method):
    model, parameters, records = problem
    at = penalised_objective(model, parameters, records, method=method)
    weights, vector = weights_of(model), parameters.to_vector()
    penalty = float(np.sum(prior_precision(model) * weights**2))
    ofv = nlme.objective(model, parameters, records, method=method).ofv.sum()
    assert at.value == pytest.approx(ofv + penalty, abs=1e-7)
    random, step = np.random.default_rng(3), 1e-4
    for _ in range(2):
        u, v = random.normal(size=weights.size), random.normal(size=vector.size)

        def value(h, u=u, v=v):
            other = with_weights(model, weights + h * u)
            at = nlme.objective(other, parameters.from_vector(vector + h * v), records, method=method)
            return at.ofv.sum() + np.sum(prior_precision(model) * (weights + h * u) ** 2)

        # Richardson's extrapolation of central differences
        coarse, fine = ((value(h) - value(-h)) / (2 * h) for h in (2 * step, step))
        assert at.by_weights @ u + at.by_vector @ v == pytest.approx((4 * fine - coarse) / 3, rel=1e-6)


def test_the_gradient_is_that_of_the_engine_where_there_is_no_network():
    records = nlme.read_nonmem(Path(__file__).parents[1] / "data" / "theoph_nonmem.csv")
    model = nlme.OneCompartmentOral()
    at = penalised_objective(model, model.default_parameters(), records)
    assert at.value == pytest.approx(133.56588716, abs=1e-6)
    golden = [-0.93122218, -1.1112848, -3.04382827, 5.90191971, 17.68512038, 17.39246623, 2.99197206]
    np.testing.assert_allclose(at.by_vector, golden, atol=1e-5)


def test_a_fit_lowers_the_penalised_objective(problem):
    model, parameters, records = problem
    fit = fit_penalised(model, records, parameters, max_iterations=15)
    start = penalised_objective(model, parameters, records).value
    assert fit.objective + fit.penalty < start - 5
    assert "OFV" in repr(fit)


def test_other_methods_are_refused(problem):
    with pytest.raises(UserError, match="must be focei or laplacei, got 'fo'"):
        penalised_objective(*problem, method="fo")
