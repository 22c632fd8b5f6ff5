"""The solver with reverse derivatives: it agrees with the adaptive one, and so do its gradients."""

from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from published_models import OralEquations

from covary import nlme
from covary.errors import UserError
from covary.nlme import joint
from covary.nlme.grid import fine_grid
from covary.nlme.lanes import lanes_of, observed_lanes_of, predict
from covary.nlme.neural import NeuralElimination, weights_of, with_weights
from covary.nlme.solvers.adjoint import Grid

TIMES = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0])


@pytest.fixture(scope="module")
def network():
    """A model whose network is not trivial."""
    model = NeuralElimination(width=3)
    random = np.random.default_rng(1)
    weights = weights_of(model)
    return with_weights(model, weights + 0.5 * random.normal(size=weights.size))


def by_both(model, parameters, design, eta, step_h):
    lanes = lanes_of(model, design)
    grid = Grid.of(lanes.plan, step_h)
    f = predict(model, parameters.concrete().theta, jnp.asarray(eta.T), lanes, grid).prediction
    return nlme.predictions(model, parameters, eta, design), np.asarray(f).T


def test_boluses_infusions_and_networks_agree_with_the_adaptive_solver(network):
    doses = [
        nlme.Dose(0.0, 1.0),
        nlme.Dose(1.3, 0.7, duration_h=1.1),
        nlme.Dose(3.0, 0.4, additional=2, interval_h=2),
    ]
    design = nlme.Design.regular(TIMES, n_subjects=3, doses=doses)
    eta = np.random.default_rng(2).normal(size=(3, 3))
    adaptive, on_grid = by_both(network, network.default_parameters(), design, eta, 0.1)
    np.testing.assert_allclose(on_grid, adaptive, atol=3e-7)


def test_the_method_is_of_order_five_at_least(network):
    design = nlme.Design.regular([4.0], n_subjects=1, dose=1.0)
    eta = np.zeros((1, 3))
    errors = []
    for step_h in (0.5, 0.25):
        adaptive, on_grid = by_both(network, network.default_parameters(), design, eta, step_h)
        errors.append(abs(on_grid - adaptive).item())
    assert errors[0] / errors[1] > 0.8 * 2**5


def test_resets_and_changing_covariates_of_a_table(tmp_path):
    class Weighted(nlme.OdeModel):
        fixed_effects: ClassVar = {"k": "positive"}
        random_effects = ("eta",)

        def individual(self, theta, eta, covariates):
            return {"k": theta["k"] * jnp.exp(eta[0]) * covariates["WT"]}

        def initial_state(self, p):
            return (p["k"],)

        def vector_field(self, t, y, p):
            return (-p["k"] * y[0],)

        def prediction(self, t, y, p):
            return y[0]

    table = tmp_path / "table.csv"
    table.write_text(
        "ID,TIME,AMT,EVID,CMT,DV,WT\n1,0,2,1,1,.,1\n1,1,.,0,1,1,1\n1,2,.,0,1,1,2\n1,3,1,4,1,.,2\n1,4,.,0,1,1,3\n"
        "2,0,1,1,1,.,1\n2,1.5,.,0,1,1,1\n",
        encoding="utf-8",
    )
    records = nlme.read_nonmem(table)
    model = Weighted()
    parameters = model.parameters([0.3], 0.1, nlme.Additive(0.1))
    eta = np.array([[0.2], [-0.3]])
    adaptive, on_grid = by_both(model, parameters, records.design, eta, 0.1)
    there = records.present
    np.testing.assert_allclose(on_grid[there], adaptive[there], rtol=1e-6)


def test_gradients_in_the_weights_equal_differences(network):
    design = nlme.Design.regular(TIMES, n_subjects=2, dose=1.0)
    lanes = lanes_of(network, design)
    grid, parameters = Grid.of(lanes.plan, 0.5), network.default_parameters().concrete()
    eta = 0.3 * np.random.default_rng(3).normal(size=(3, 2))

    @jax.jit
    def loss(weights, eta):
        model = with_weights(network, weights)
        return jnp.sum(predict(model, parameters.theta, eta, lanes, grid).prediction ** 2)

    weights, step = weights_of(network), 1e-5
    slope = jax.grad(loss, argnums=(0, 1))(weights, eta)
    direction = np.random.default_rng(4).normal(size=weights.size)
    high, low = loss(weights + step * direction, eta), loss(weights - step * direction, eta)
    assert slope[0] @ direction == pytest.approx(float(high - low) / (2 * step), rel=1e-6)
    high, low = loss(weights, eta + step), loss(weights, eta - step)
    assert slope[1].sum() == pytest.approx(float(high - low) / (2 * step), rel=1e-6)


def test_the_golden_objective_of_theophylline():
    records = nlme.read_nonmem(Path(__file__).parents[1] / "data" / "theoph_nonmem.csv")
    model = OralEquations()
    parameters = model.parameters(
        [0.463883, 1.012158, 3.459745], [0.402356, 0.069095, 0.019160], nlme.Additive(0.694409)
    )
    closed = nlme.OneCompartmentOral()
    modes = nlme.empirical_bayes(closed, parameters, records)
    lanes = observed_lanes_of(model, records)
    grid = Grid.of(lanes.plan, 0.25)
    at = jax.jit(lambda eta: joint.gauss_newton(model, parameters, eta, lanes, None, grid))(modes.eta.T)
    determinants = np.linalg.slogdet(np.moveaxis(np.asarray(at.curvature), -1, 0))[1]
    ofv = np.sum(2 * np.asarray(at.value) + determinants + np.linalg.slogdet(parameters.omega)[1])
    assert ofv == pytest.approx(116.803413, abs=1e-3)


def test_a_steady_state_on_top_of_what_is_there_is_refused(network):
    doses = [nlme.Dose(0.0, 1.0), nlme.Dose(2.0, 1.0, interval_h=1.0, steady_state=2)]
    design = nlme.Design.regular(TIMES, n_subjects=1, doses=doses)
    lanes = lanes_of(network, design)
    with pytest.raises(UserError, match="needs the adaptive solver"):
        predict(network, {"tvKa": 1.0}, jnp.zeros((3, 1)), lanes, Grid((1,)))


def test_the_grid_is_fine_where_the_record_is_fast_and_skips_what_takes_no_time():
    model = nlme.load_model("neural_indirect_response")
    parameters = model.default_parameters()
    times = np.array([0.0, 1.0, 2.0, 10.0, 11.0, 12.0])
    design = nlme.Design.regular(times, n_subjects=3, dose=1.0, outputs=(1, 2))
    records = nlme.Records.of(design, np.zeros((3, 12)))
    lanes = observed_lanes_of(model, records)
    grid = fine_grid(model, parameters, lanes, error=1e-3)
    steps = dict(
        zip(design.time_h[0, ::2], np.add.reduceat(grid.steps[-12:], np.arange(0, 12, 2)), strict=True)
    )
    assert steps[1.0] > steps[11.0] >= 1  # the dose is at 0
    assert 0 in grid.steps  # the second output is observed at the same time
    eta = 0.3 * np.random.default_rng(5).normal(size=(3, 5))
    f = predict(model, parameters.concrete().theta, jnp.asarray(eta.T), lanes, grid).prediction
    np.testing.assert_allclose(np.asarray(f).T, nlme.predictions(model, parameters, eta, design), atol=2e-4)


def test_a_vector_field_that_is_no_number_is_one_line():
    class Undefined(OralEquations):
        def vector_field(self, t, y, p):
            return -y[0], jnp.sqrt(-1.0 - y[1] ** 2)

    model = Undefined()
    design = nlme.Design.regular(TIMES, n_subjects=1, dose=1.0)
    lanes = observed_lanes_of(model, nlme.Records.of(design, np.zeros((1, 7))))
    with pytest.raises(
        UserError, match=r"^Undefined\.vector_field must return finite numbers; that of state 2"
    ):
        fine_grid(model, nlme.OneCompartmentOral().default_parameters(), lanes)


def test_equations_too_stiff_for_a_grid_are_one_line():
    class Stiff(OralEquations):
        def vector_field(self, t, y, p):
            return -1e7 * y[0], 1e7 * y[0] - y[1]

    model = Stiff()
    design = nlme.Design.regular(TIMES, n_subjects=1, dose=1.0)
    lanes = observed_lanes_of(model, nlme.Records.of(design, np.zeros((1, 7))))
    with pytest.raises(UserError, match="the equations are stiff"):
        fine_grid(model, nlme.OneCompartmentOral().default_parameters(), lanes)
