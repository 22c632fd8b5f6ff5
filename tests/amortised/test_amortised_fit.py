"""A population fit by a posterior network, against FOCE and the truth."""

from typing import ClassVar

import numpy as np
import pytest
from designs import ORAL_TIMES_H

from covary import nlme, rng
from covary.amortised.fit import PopulationSimulator, fit_amortised
from covary.amortised.problem import simulated
from covary.amortised.train import Training, train
from covary.config.visits import CompletelyAtRandom
from covary.errors import UserError
from covary.nlme.likelihood import RecordLikelihood
from covary.nlme.shift import mean_between, with_mean

MISSING = [CompletelyAtRandom(mechanism="completely_at_random", fraction=0.2)]
N = 200


class Line(nlme.ClosedFormModel):
    """f = scale · (base + slope · t), where no random effect shifts the scale."""

    fixed_effects: ClassVar = {"base": "real", "slope": "real", "scale": "positive"}
    random_effects = ("eta_base", "eta_slope", "eta_other")

    def individual(self, theta, eta, covariates):
        return {
            "base": theta["base"] + eta[0],
            "slope": theta["slope"] + eta[1],
            "scale": theta["scale"] * (1 + eta[2] ** 2),
        }

    def closed_form(self, time_h, doses, p):
        return p["scale"] * (p["base"] + p["slope"] * time_h)


@pytest.fixture(autouse=True)
def _configured():
    nlme.configure()


def test_fixed_effects_take_up_a_mean():
    model = nlme.SaturableElimination()
    truth = model.default_parameters()
    mean = np.array([0.3, -0.2, 0.5])
    moved = with_mean(model, truth, mean, {})
    for (name, value), shift in zip(truth.theta.items(), mean, strict=True):
        assert moved.theta[name] == pytest.approx(value * np.exp(shift), rel=1e-8)
    np.testing.assert_allclose(mean_between(model, truth, moved, {}), mean, atol=1e-8)
    with pytest.raises(UserError, match=r"Line: each fixed effect \(base, slope, scale\) must be shifted"):
        line = Line()
        with_mean(line, line.parameters([1.0, 1.0, 1.0], 0.1, nlme.Additive(0.1)), mean, {})
    one, other = (line.parameters([1.0, 1.0, scale], 0.1, nlme.Additive(0.1)) for scale in (1.0, 2.0))
    assert not mean_between(line, one, other, {}).any()


def test_the_likelihood_is_that_of_the_engine():
    model = nlme.OneCompartmentOral()
    initial = model.parameters([0.45, 1.0, 3.45], omega=0.1, residual=nlme.Proportional(0.2))
    simulator = PopulationSimulator(model, initial, design(), MISSING, 1.0)
    phi, y = simulated(simulator, 0, 5, seed=1, stream="t")
    phi[:, 3] = 0.0  # the initial residual error
    found = simulator.log_likelihood(phi[:, None], y)[:, 0]
    records = nlme.Records.of(design().rows(np.zeros(5, dtype=int)), y, missing_as_nan=True)
    expected = RecordLikelihood(model, initial, records).log_density(
        (phi[:, :3] @ simulator.factor.T)[:, None], np.arange(5)
    )[:, 0]
    constant = 0.5 * np.log(2 * np.pi) * np.isfinite(y).sum(axis=1)
    np.testing.assert_allclose(found, expected - constant, atol=1e-4)


@pytest.mark.slow
def test_the_fit_is_near_foce_and_the_truth(tmp_path):
    model = nlme.OneCompartmentOral()
    truth = model.parameters([0.45, 1.0, 3.45], omega=0.09, residual=nlme.Additive(0.3))
    eta = 0.3 * rng.normal(1, "eta", 0, N, (3,))
    many = design().rows(np.zeros(N, dtype=int))
    y = nlme.simulate(model, truth, eta, many, 1).observation
    y = np.where(rng.uniform(1, "missing", 0, N, (len(ORAL_TIMES_H),)) < 0.2, np.nan, y)
    initial = model.parameters([0.2, 1.2, 3.3], omega=0.2, residual=nlme.Additive(0.5))
    simulator = PopulationSimulator(model, initial, design(), MISSING, 2.0)
    settings = Training(layers=4, width=32, batch=256, steps=50, rounds=20)
    trained, _ = train(simulator, settings, seed=1, folder=tmp_path)
    found = fit_amortised(trained, simulator, y, seed=1)
    assert found.converged and "effective sample size" in found.verdict
    foce = nlme.fit_population(model, nlme.Records.of(many, y, missing_as_nan=True), initial, method="focei")
    table, expected = found.table().set_index("parameter"), foce.table().set_index("parameter")
    assert list(table.columns) == list(expected.columns) and table.index.equals(expected.index)
    error = (table["estimate"] - expected["estimate"]) / expected["se"]
    assert error.abs().max() < 1.0, error
    ratio = table["se"] / expected["se"]
    assert ((ratio > 0.5) & (ratio < 2.0)).all(), ratio
    assert found.minus_two_log_likelihood == pytest.approx(foce.minus_two_log_likelihood, rel=0.02)


def design():
    return nlme.Design.regular(ORAL_TIMES_H, n_subjects=1, dose=320.0)
