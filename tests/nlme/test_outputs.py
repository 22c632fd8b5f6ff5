"""Models with several outputs: CMT or DVID chooses, each with its own residual error."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from covary import nlme
from covary.figures import population

EFFECTS: dict = {"k": "positive", "kout": "positive"}


def individual(theta, eta):
    return {"k": theta["k"] * jnp.exp(eta[0]), "kout": theta["kout"]}


class Turnover(nlme.OdeModel):
    """A drug C' = −k C drives a response R' = C − kout R."""

    fixed_effects: ClassVar = EFFECTS
    random_effects = ("eta",)
    outputs: ClassVar = {3: "response", 2: "concentration"}

    def individual(self, theta, eta, covariates):
        return individual(theta, eta)

    def initial_state(self, p):
        return 0.0, 0.0

    def vector_field(self, t, y, p):
        return -p["k"] * y[0], y[0] - p["kout"] * y[1]

    def prediction(self, t, y, p):
        return {"concentration": y[0], "response": y[1]}


class TurnoverByFormula(nlme.ClosedFormModel):
    """The same after a dose of 10 at time 0."""

    fixed_effects: ClassVar = EFFECTS
    random_effects = ("eta",)
    outputs: ClassVar = Turnover.outputs

    def individual(self, theta, eta, covariates):
        return individual(theta, eta)

    def closed_form(self, time_h, doses, p):
        k, kout = p["k"], p["kout"]
        c, r = jnp.exp(-k * time_h), jnp.exp(-kout * time_h)
        return {"concentration": 10 * c, "response": 10 * (c - r) / (kout - k)}


RESIDUAL = {"concentration": nlme.LogNormal(0.2), "response": nlme.Additive(0.3)}
TABLE = (
    "ID,TIME,AMT,EVID,{0},DV\n1,0,10,1,1,.\n1,1,0,0,2,6\n1,1,0,0,3,5\n1,3,0,0,3,9\n1,4,0,0,2,1.5\n"
    "2,0,10,1,1,.\n2,2,0,0,3,8\n2,5,0,0,2,0.5\n"
)


@pytest.fixture(params=["CMT", "DVID"])
def records(request, tmp_path):
    (tmp_path / "t.csv").write_text(TABLE.format(request.param))
    return nlme.read_nonmem(tmp_path / "t.csv")


def test_the_column_chooses_the_output(records):
    eta = np.array([[0.2], [-0.1]])
    f = {}
    for model in (Turnover(), TurnoverByFormula()):
        parameters = model.parameters([0.5, 0.2], 0.1, RESIDUAL)
        f[model.__class__] = nlme.predictions(model, parameters, eta, records.design)
    for i, times in enumerate(([1, 1, 3, 4], [2, 5])):
        k = 0.5 * np.exp(eta[i, 0])
        y = solve_ivp(
            lambda t, y, k=k: (-k * y[0], y[0] - 0.2 * y[1]),
            (0, 5),
            [10, 0],
            rtol=1e-10,
            atol=1e-12,
            t_eval=sorted(set(times)),
        )
        states = dict(zip(y.t, y.y.T, strict=True))
        which = ([0, 1, 1, 0], [1, 0])[i]
        expected = [states[t][w] for t, w in zip(times, which, strict=True)]
        for found in f.values():
            np.testing.assert_allclose(found[i][: len(times)], expected, rtol=1e-6)


def test_each_output_has_its_own_residual_error(records):
    model = TurnoverByFormula()
    parameters = model.parameters([0.5, 0.2], 0.1, RESIDUAL)
    assert list(parameters.natural())[-2:] == ["residual response sd", "residual concentration sd"]
    again = nlme.parameters_from_json(nlme.parameters_to_json(parameters))
    np.testing.assert_array_equal(again.to_vector(), parameters.to_vector())
    found = nlme.objective(model, parameters, records, method="focei", gradient=True)
    # Φ at the mode, by hand.
    f = nlme.predictions(model, parameters, found.eta, records.design)
    y = records.observation
    concentration = np.array([[True, False, False, True], [False, True, False, False]])
    with np.errstate(invalid="ignore"):
        log_normal = np.log(y / f) ** 2 / 0.2**2 + 2 * np.log(0.2) + 2 * np.log(y)
    terms = np.where(concentration, log_normal, (y - f) ** 2 / 0.3**2 + 2 * np.log(0.3))
    phi = np.nansum(terms, axis=1) + found.eta[:, 0] ** 2 / 0.1
    h = 1e-5
    up, down = (nlme.predictions(model, parameters, found.eta + s, records.design) for s in (h, -h))
    a = (up - down) / (2 * h)
    w = np.where(concentration, 1 / (0.2 * f) ** 2, 1 / 0.3**2)
    curvature = np.nansum(a**2 * w, axis=1) + 1 / 0.1
    np.testing.assert_allclose(found.ofv, phi + np.log(0.1) + np.log(curvature), rtol=1e-6)
    vector = parameters.to_vector()

    def ofv(v):
        return nlme.objective(model, parameters.from_vector(v).concrete(), records).ofv.sum()

    numeric = [(ofv(vector + d) - ofv(vector - d)) / 2e-4 for d in 1e-4 * np.eye(vector.size)]
    np.testing.assert_allclose(found.gradient.sum(axis=1), numeric, atol=1e-5)


def test_diagnostics_by_output(records):
    model = TurnoverByFormula()
    parameters = model.parameters([0.5, 0.2], 0.1, RESIDUAL)
    table = nlme.residual_table(model, parameters, records, method="focei")
    assert table["OUTPUT"].value_counts().to_dict() == {"response": 3, "concentration": 3}
    assert set(nlme.epsilon_shrinkage(table)) == {"response", "concentration"}
    check = nlme.predictive_check(
        model, parameters, records, 1, replicates=20, bins=1, stratify="OUTPUT", prediction_corrected=True
    )
    assert check.bands.groupby("stratum").size().to_dict() == {"response": 3, "concentration": 3}
    assert len(population.predictive_check_figure(check).axes) == 2
    curves = nlme.individual_curves(model, parameters, records, np.zeros((2, 1)), points=10)
    of_drug = curves[curves["OUTPUT"] == "concentration"]
    np.testing.assert_allclose(of_drug["PRED"], 10 * np.exp(-0.5 * of_drug["TIME"]), rtol=1e-9)


def test_a_regular_design_with_several_outputs():
    model = TurnoverByFormula()
    parameters = model.parameters([0.5, 0.2], 0.1, RESIDUAL)
    both = nlme.Design.regular([1.0, 2.0], n_subjects=2, outputs=[2, 3])
    f = nlme.simulate(model, parameters, np.zeros((2, 1)), both, 1).prediction
    np.testing.assert_allclose(f[0, ::2], 10 * np.exp(-0.5 * np.array([1, 2])))
    assert both.time_h.tolist() == [[1.0, 1.0, 2.0, 2.0]]


def test_outputs_that_do_not_fit(records, tmp_path):
    one = nlme.OneCompartmentOral()
    with pytest.raises(
        ValueError, match=r"subject 1: observations are of CMT or DVID 2, 3, but .* has one output"
    ):
        nlme.predictions(one, one.default_parameters(), np.zeros((2, 3)), records.design)
    model = TurnoverByFormula()
    with pytest.raises(ValueError, match="residual must be a dictionary of response, concentration"):
        model.parameters([0.5, 0.2], 0.1, nlme.Additive(0.1))
    parameters = model.parameters([0.5, 0.2], 0.1, RESIDUAL)
    (tmp_path / "t.csv").write_text(TABLE.format("CMT").replace("2,5,0,0,2", "2,5,0,0,7"))
    design = nlme.read_nonmem(tmp_path / "t.csv").design
    with pytest.raises(ValueError, match=r"subject 2: .* of CMT or DVID 3 \(response\), 2 \(conc.*, got 7"):
        nlme.predictions(model, parameters, np.zeros((2, 1)), design)
