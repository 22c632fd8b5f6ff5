"""The solver: order, accuracy, stiffness, doses, failures, and derivatives."""

from pathlib import Path
from typing import ClassVar

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from designs import PAPER_TIMES_H

from covary import nlme, rng
from covary.nlme.lanes import lanes_of, predict
from covary.nlme.solvers.lanes import Tolerance, step


class Oral(nlme.OdeModel):
    """One compartment with first-order absorption, as an ODE."""

    fixed_effects: ClassVar = {"tka": "real", "tcl": "real", "tv": "real"}
    random_effects = ("eta_ka", "eta_cl", "eta_v")

    def individual(self, theta, eta, covariates):
        return nlme.OneCompartmentOral().individual(theta, eta, covariates)

    def initial_state(self, p):
        return 0.0, 0.0

    def vector_field(self, t, y, p):
        depot, central = y
        return -p["ka"] * depot, p["ka"] * depot - p["cl"] / p["v"] * central

    def prediction(self, t, y, p):
        return y[1] / p["v"]


class Forced(nlme.OdeModel):
    """y' = −λ (y − cos t) − sin t, y = cos t: as stiff as λ, and the time derivative matters."""

    fixed_effects: ClassVar = {"rate": "positive"}
    random_effects = ("eta",)

    def individual(self, theta, eta, covariates):
        return {"rate": theta["rate"] * jnp.exp(eta[0])}

    def initial_state(self, p):
        return (1.0,)

    def vector_field(self, t, y, p):
        return (-p["rate"] * (y[0] - jnp.cos(t)) - jnp.sin(t),)

    def prediction(self, t, y, p):
        return y[0]


def growth(t, y):
    """Logistic growth at a seasonal rate, with solution 1/(1 + 9 exp(−2t − sin(3t)/3)) from y = 0.1."""
    return (y[0] * (1 - y[0]) * (2 + jnp.cos(3 * t)),)


def test_step_has_order_five():
    def error_at_one(n):
        y, h = (jnp.full(1, 0.1),), jnp.full(1, 1 / n)
        for i in range(n):
            y, _ = step(growth, jnp.full(1, i / n), y, h)
        return abs(float(y[0][0]) - 1 / (1 + 9 * np.exp(-2 - np.sin(3) / 3)))

    errors = np.array([error_at_one(n) for n in (16, 32, 64)])
    np.testing.assert_allclose(np.log2(errors[:-1] / errors[1:]), 5.0, atol=0.25)


def test_error_estimate_of_a_step_has_order_five():
    def estimate(h):
        return abs(float(step(growth, jnp.full(1, 0.3), (jnp.full(1, 0.1),), jnp.full(1, h))[1][0][0]))

    assert np.log2(estimate(0.04) / estimate(0.02)) == pytest.approx(5.0, abs=0.1)


def test_step_is_l_stable():
    y, _ = step(lambda t, y: (-1e9 * y[0],), jnp.zeros(1), (jnp.ones(1),), jnp.ones(1))
    assert abs(float(y[0][0])) < 1e-6


@pytest.mark.parametrize("rate", [1.0, 1e3, 1e6])
def test_stiff_problem_with_explicit_time(rate):
    model = Forced()
    design = nlme.Design.regular(PAPER_TIMES_H, n_subjects=1)
    found = nlme.predictions(
        model, model.parameters([rate], 1.0, nlme.Additive(1.0)), np.zeros((1, 1)), design
    )
    np.testing.assert_allclose(found[0], np.cos(PAPER_TIMES_H), atol=1e-6)


@pytest.mark.parametrize("spread", [1.0, 2.0])
def test_paper_model_is_accurate_to_one_millionth(spread):
    model = nlme.SaturableElimination()
    n = 2000
    eta = spread * rng.normal(3, "eta", 0, n, (3,))
    design = nlme.Design.regular(PAPER_TIMES_H, n_subjects=n, dose=1.0)
    found = nlme.predictions(model, model.default_parameters(), eta, design)
    lanes = lanes_of(model, design)
    reference = jax.jit(
        lambda e: predict(model, model.default_parameters().theta, e, lanes, Tolerance(1e-11, 1e-13))[0]
    )
    assert np.abs(found - np.asarray(reference(eta.T)).T).max() < 1e-6


def test_reference_agrees_with_an_independent_solver():
    model, n = nlme.SaturableElimination(), 8
    eta = rng.normal(4, "eta", 0, n, (3,))
    found = nlme.predictions(
        model, model.default_parameters(), eta, nlme.Design.regular(PAPER_TIMES_H, n_subjects=n, dose=1.0)
    )

    def independent(e):
        p = model.individual(model.default_parameters().theta, e, {})
        term = diffrax.ODETerm(lambda t, y, args: jnp.stack(model.vector_field(t, y, p)))
        controller = diffrax.PIDController(rtol=1e-11, atol=1e-12)
        save = diffrax.SaveAt(ts=PAPER_TIMES_H)
        solution = diffrax.diffeqsolve(
            term,
            diffrax.Kvaerno5(),
            0.0,
            10.0,
            1e-4,
            jnp.array([1.0, 0.0]),
            saveat=save,
            stepsize_controller=controller,
            max_steps=100_000,
        )
        return solution.ys[:, 1]

    expected = np.stack([jax.jit(independent)(jnp.asarray(e)) for e in eta])
    np.testing.assert_allclose(found, expected, atol=2e-7)


def test_doses_of_every_kind_agree_with_the_closed_form(tmp_path):
    table = tmp_path / "doses.csv"
    table.write_text(
        "ID,TIME,AMT,RATE,II,ADDL,EVID,CMT,DV,MDV\n"
        "a,0,0,0,0,0,0,.,1,0\na,0,100,0,12,2,1,1,.,1\na,0,0,0,0,0,0,.,1,0\na,5,0,0,0,0,0,.,1,0\n"
        "a,12,0,0,0,0,0,.,1,0\na,13,50,25,0,0,1,2,.,1\na,14,0,0,0,0,0,.,1,0\na,30,0,0,0,0,0,.,1,0\n"
        "b,1,80,40,0,0,1,1,.,1\nb,1.5,0,0,0,0,0,.,1,0\nb,2,30,0,0,0,1,2,.,1\nb,9,0,0,0,0,0,.,1,0\n"
    )
    design = nlme.read_nonmem(table).design
    eta = np.array([[0.3, -0.2, 0.1], [-0.5, 0.4, 0.0]])
    ode, closed = Oral(), nlme.OneCompartmentOral()
    residual = nlme.Additive(1.0)
    by_ode = nlme.predictions(ode, ode.parameters([0.4, 1.0, 3.4], 1.0, residual), eta, design)
    by_formula = nlme.predictions(closed, closed.parameters([0.4, 1.0, 3.4], 1.0, residual), eta, design)
    np.testing.assert_array_equal(np.isnan(by_ode), np.isnan(by_formula))
    np.testing.assert_allclose(by_ode, by_formula, atol=1e-5)
    assert by_formula[0, 0] == 0.0 and by_formula[0, 4] > 1.0


def test_a_shared_design_takes_several_doses_and_covariates_per_subject():
    class Scaled(Oral):
        def individual(self, theta, eta, covariates):
            p = super().individual(theta, eta, covariates)
            return p | {"v": p["v"] * covariates["wt"] / covariates["reference"]}

    weights = np.array([35.0, 70.0, 140.0])
    doses = [nlme.Dose(-1.0, 100.0, additional=2, interval_h=12.0), nlme.Dose(2.0, 50.0, 3.0, compartment=2)]
    times = [0.5, 2.0, 4.0, 11.0, 30.0]
    design = nlme.Design.regular(
        times, n_subjects=3, doses=doses, covariates={"wt": weights, "reference": 70.0}
    )
    assert design.shared
    model, closed = Scaled(), nlme.OneCompartmentOral()
    found = nlme.predictions(
        model, model.parameters([0.4, 1.0, 3.4], 1.0, nlme.Additive(1.0)), np.zeros((3, 3)), design
    )
    for row, weight in zip(found, weights, strict=True):
        expected = nlme.predictions(
            closed,
            closed.parameters([0.4, 1.0, 3.4 + np.log(weight / 70)], 1.0, nlme.Additive(1.0)),
            np.zeros((1, 3)),
            nlme.Design.regular(times, n_subjects=1, doses=doses),
        )
        np.testing.assert_allclose(row, expected[0], rtol=1e-5)
    np.testing.assert_array_equal(design.rows(np.array([2, 0])).covariates["wt"], [140.0, 35.0])


class Leaves(nlme.OdeModel):
    """V' = −0.5 V, V(0) = 100."""

    fixed_effects: ClassVar = {"k": "positive"}
    random_effects = ("eta",)

    def individual(self, theta, eta, covariates):
        return {"k": theta["k"] * jnp.exp(eta[0])}

    def initial_state(self, p):
        return (100.0,)

    def vector_field(self, t, y, p):
        return (-p["k"] * y[0],)

    def prediction(self, t, y, p):
        return y[0]


class LeavesByFormula(nlme.ClosedFormModel):
    fixed_effects: ClassVar = Leaves.fixed_effects
    random_effects = Leaves.random_effects

    def individual(self, theta, eta, covariates):
        return {"k": theta["k"] * jnp.exp(eta[0])}

    def closed_form(self, time_h, doses, p):
        return 100 * jnp.exp(-p["k"] * time_h)


@pytest.mark.parametrize("model", [Leaves(), LeavesByFormula()], ids=["ode", "closed form"])
def test_time_starts_at_zero_or_at_an_earlier_first_record(model, tmp_path):
    parameters = model.parameters([0.5], 1.0, nlme.Additive(1.0))
    times = np.array([1.0, 2.0, 4.0])
    right = 100 * np.exp(-0.5 * times)

    def predicted(rows):
        (tmp_path / "t.csv").write_text("ID,TIME,EVID,DV,MDV\n" + rows)
        design = nlme.read_nonmem(tmp_path / "t.csv").design
        return nlme.predictions(model, parameters, np.zeros((1, 1)), design)[0]

    design = nlme.Design.regular(times, n_subjects=1)
    found = nlme.predictions(model, parameters, np.zeros((1, 1)), design)[0]
    np.testing.assert_allclose(found, right, rtol=1e-6)
    observed = "1,1,0,9,0\n1,2,0,9,0\n1,4,0,9,0\n"
    for first in ("", "1,0,0,.,1\n", "1,0,2,.,1\n", "1,0.5,2,.,1\n"):
        np.testing.assert_allclose(predicted(first + observed), right, rtol=1e-6)
    np.testing.assert_allclose(predicted("1,-2,2,.,1\n" + observed), right * np.exp(-1), rtol=1e-6)


class Grows(Leaves):
    """x' = 0.9 x, x(0) = 2."""

    def initial_state(self, p):
        return (2.0,)

    def vector_field(self, t, y, p):
        return (p["k"] * y[0],)


def test_the_first_record_of_a_subject_may_come_late():
    records = nlme.read_nonmem(Path(__file__).parents[1] / "data" / "tables" / "19-first-record-late.csv")
    parameters = Grows().parameters([0.9], 1.0, nlme.Additive(1.0))
    found = nlme.predictions(Grows(), parameters, np.zeros((2, 1)), records.design)
    np.testing.assert_allclose(found[0], [2, 29.76, 73.20, 180.03], rtol=2e-4)
    np.testing.assert_allclose(found[1][records.present[1]], found[0, 1:], rtol=1e-6)


def test_closed_form_is_smooth_where_its_rates_meet():
    model = nlme.OneCompartmentOral()
    design = nlme.Design.regular(PAPER_TIMES_H, n_subjects=3, dose=10.0)
    eta = np.array([[0.0, 0.0, 0.0], [1e-7, 0.0, 0.0], [0.01, 0.0, 0.0]])
    parameters = model.parameters([0.0, 1.0, 1.0], 1.0, nlme.Additive(1.0))  # ka = k = 1
    f = nlme.predictions(model, parameters, eta, design)
    np.testing.assert_allclose(f[0], 10 * PAPER_TIMES_H * np.exp(-PAPER_TIMES_H) / np.e, atol=1e-12)
    np.testing.assert_allclose(f[1], f[0], atol=1e-6)


class Explodes(Forced):
    """y' = y² from y = rate: infinite at t = 1/rate."""

    def initial_state(self, p):
        return (p["rate"],)

    def vector_field(self, t, y, p):
        return (y[0] ** 2,)


def test_subject_whose_solution_does_not_exist_fails_alone():
    model = Explodes()
    design = nlme.Design.regular([0.0, 1.0, 2.0], n_subjects=3)
    parameters = model.parameters([1.0], 1.0, nlme.Additive(0.1))
    found = nlme.simulate(model, parameters, np.log([[0.4], [1.0], [0.25]]), design, 1)
    assert found.status.tolist() == [0, 1, 0]
    assert np.all(np.isnan(found.prediction[1])) and np.all(np.isnan(found.observation[1]))
    np.testing.assert_allclose(found.prediction[0], [0.4, 0.4 / 0.6, 0.4 / 0.2], rtol=1e-6)


def test_derivatives_are_those_of_the_solution():
    model = nlme.SaturableElimination()
    eta = rng.normal(6, "eta", 0, 4, (3,)).T
    lanes = lanes_of(model, nlme.Design.regular(PAPER_TIMES_H, n_subjects=4, dose=1.0))
    tolerance = Tolerance(1e-10, 1e-12)
    theta = model.default_parameters().theta

    @jax.jit
    def f(e):
        return predict(model, theta, e, lanes, tolerance)[0]

    for i in range(3):
        direction = np.zeros((3, 4))
        direction[i] = 1.0
        exact = jax.jvp(f, (eta,), (direction,))[1]
        h = 1e-4
        differences = (f(eta + h * direction) - f(eta - h * direction)) / (2 * h)
        np.testing.assert_allclose(exact, differences, atol=2e-7)
