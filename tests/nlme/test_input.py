"""Parameters, designs and NONMEM tables: round trips, and one clear line for whatever is wrong."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covary import nlme

MODEL = nlme.SaturableElimination()
numbers = st.floats(-5, 5)


@given(
    st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=3),
    st.lists(numbers, min_size=6, max_size=6),
    st.sampled_from(
        [
            nlme.Additive(0.3),
            nlme.Proportional(0.1),
            nlme.Combined(0.1, 0.2, "standard_deviations"),
            nlme.LogNormal(0.2),
        ]
    ),
)
def test_parameters_survive_json_and_the_unconstrained_scale(theta, lower, residual):
    factor = np.zeros((3, 3))
    factor[np.tril_indices(3)] = lower
    omega = factor @ factor.T + 0.1 * np.eye(3)
    parameters = MODEL.parameters(theta, omega, residual)
    again = nlme.parameters_from_json(nlme.parameters_to_json(parameters))
    assert again.theta == parameters.theta and again.residual == parameters.residual
    np.testing.assert_array_equal(again.omega, parameters.omega)
    assert again.blocks == parameters.blocks
    back = parameters.from_vector(parameters.to_vector()).concrete()
    np.testing.assert_allclose(back.omega, omega, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(list(back.theta.values()), theta, rtol=1e-12)


def test_blocks_of_omega_follow_its_zeros():
    omega = np.array([[1.0, 0.0, 0.2], [0.0, 1.0, 0.0], [0.2, 0.0, 1.0]])
    parameters = MODEL.parameters([1, 2, 3], omega, nlme.Additive(1.0))
    assert parameters.blocks == ((0, 2), (1,))
    assert parameters.to_vector().size == 3 + 4 + 1
    assert parameters.logarithms().tolist() == [True] * 3 + [True, False, True, True] + [True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 1.0], 1.0, nlme.Additive(1.0)), "fixed effects must be 3 numbers"),
        (({"tvKa": 1.0}, 1.0, nlme.Additive(1.0)), "fixed effects must be tvKa, tvImax, tvIC50"),
        (
            ([1.0, -2.0, 1.0], 1.0, nlme.Additive(1.0)),
            "fixed effect tvImax must be a positive number, got -2",
        ),
        (([1.0, 2.0, 1.0], [1.0, 1.0], nlme.Additive(1.0)), "Ω must be 3 × 3"),
        (([1.0, 2.0, 1.0], np.diag([1.0, 1.0, 0.0]), nlme.Additive(1.0)), "Ω must be positive definite"),
        (
            ([1.0, 2.0, 1.0], np.array([[1, 2, 0], [2, 1, 0], [0, 0, 1.0]]), nlme.Additive(1.0)),
            "positive definite",
        ),
        (([1.0, 2.0, 1.0], 1.0, nlme.Additive(0.0)), "residual sd must be > 0, got 0"),
    ],
)
def test_wrong_parameters(arguments, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        MODEL.parameters(*arguments)


def test_wrong_json():
    with pytest.raises(ValueError, match="must be JSON written by parameters_to_json"):
        nlme.parameters_from_json("{}")


def test_wrong_designs_and_records():
    with pytest.raises(ValueError, match="times_h must increase"):
        nlme.Design.regular([0.0, 1.0, 1.0], n_subjects=1)
    design = nlme.Design.regular([0.0, 1.0], n_subjects=2, dose=1.0)
    with pytest.raises(ValueError, match=r"must have shape \(2, 2\), got \(2, 3\)"):
        nlme.Records.of(design, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="subject 1: observation at 1 h must be a finite number, got nan"):
        nlme.Records.of(design, np.array([[0.0, 1.0], [0.0, np.nan]]))
    nothing = nlme.Records.of(design, np.full((2, 2), np.nan), missing_as_nan=True)
    with pytest.raises(ValueError, match="no subject has an observation"):
        nlme.fit_population(MODEL, nothing, MODEL.default_parameters())
    wrong = nlme.Design.regular([0.0, 1.0], n_subjects=2, doses=[nlme.Dose(0.0, 1.0, compartment=3)])
    with pytest.raises(ValueError, match="compartments 1 … 2 of SaturableElimination, got 3"):
        nlme.predictions(MODEL, MODEL.default_parameters(), np.zeros((2, 3)), wrong)
    with pytest.raises(ValueError, match=r"eta must have shape \(2, 3\)"):
        nlme.predictions(MODEL, MODEL.default_parameters(), np.zeros((2, 2)), design)


@pytest.mark.parametrize(
    ("dose", "message"),
    [
        (nlme.Dose(0.0, -1.0), "amount of a dose must be > 0, got -1"),
        (nlme.Dose(np.nan, 1.0), "time_h of a dose must be finite, got nan"),
        (nlme.Dose(0.0, 1.0, duration_h=-1.0), "duration_h of a dose must be ≥ 0"),
        (nlme.Dose(0.0, 1.0, compartment=0), "compartment of a dose must be a whole number ≥ 1, got 0"),
        (nlme.Dose(0.0, 1.0, additional=2), "interval_h of a repeated dose must be > 0, got 0"),
    ],
)
def test_wrong_doses(dose, message):
    with pytest.raises(ValueError, match=message):
        nlme.Design.regular([1.0], n_subjects=1, doses=[dose])


def test_unknown_method():
    records = nlme.Records.of(nlme.Design.regular([1.0], n_subjects=1, dose=1.0), np.zeros((1, 1)))
    with pytest.raises(
        ValueError, match="method must be one of fo, foce, focei, laplace, laplacei, got 'saem'"
    ):
        nlme.objective(MODEL, MODEL.default_parameters(), records, method="saem")


class WrongShape(nlme.SaturableElimination):
    def vector_field(self, t, y, p):
        return (-y[0],)


class NeedsWeight(nlme.SaturableElimination):
    def individual(self, theta, eta, covariates):
        return super().individual(theta, eta, covariates) | {"wt": covariates["wt"]}


def test_wrong_models():
    design = nlme.Design.regular([0.0, 1.0], n_subjects=2, dose=1.0)
    with pytest.raises(ValueError, match=r"WrongShape.vector_field must return 2 numbers"):
        nlme.predictions(WrongShape(), MODEL.default_parameters(), np.zeros((2, 3)), design)
    with pytest.raises(ValueError, match=r"NeedsWeight.individual needs 'wt'"):
        nlme.predictions(NeedsWeight(), MODEL.default_parameters(), np.zeros((2, 3)), design)


def test_load_model_by_name_and_from_a_file(tmp_path):
    assert isinstance(nlme.load_model("saturable_elimination"), nlme.SaturableElimination)
    (tmp_path / "mine.py").write_text(
        "from covary import nlme\n"
        "class Mine(nlme.ClosedFormModel):\n"
        "    fixed_effects = {'a': 'real'}\n"
        "    random_effects = ('eta',)\n"
        "    def individual(self, theta, eta, covariates):\n"
        "        return {'a': theta['a'] + eta[0]}\n"
        "    def closed_form(self, time_h, doses, p):\n"
        "        return p['a'] + 0 * time_h\n"
        "class Half(nlme.OdeModel):\n"
        "    pass\n"
    )
    model = nlme.load_model(f"{tmp_path}/mine.py:Mine")
    parameters = model.parameters([3.0], 1.0, nlme.Additive(1.0))
    design = nlme.Design.regular([0.0, 1.0], n_subjects=2)
    np.testing.assert_array_equal(
        nlme.predictions(model, parameters, np.array([[0.0], [1.0]]), design), [[3, 3], [4, 4]]
    )
    for name, message in {
        "two_compartments": "must be one of saturable_elimination, one_compartment_oral, indirect_response",
        "nowhere.py:Model": "there is no file nowhere.py",
        f"{tmp_path}/mine.py:Yours": "must define a class Yours",
        f"{tmp_path}/mine.py:Half": "Half in .* must define individual, initial_state, prediction, vector",
    }.items():
        with pytest.raises(ValueError, match=message):
            nlme.load_model(name)


def test_indirect_response_starts_and_ends_at_its_baseline():
    model = nlme.IndirectResponse()
    design = nlme.Design.regular([0.0, 2.0, 200.0], n_subjects=1, dose=1.0)
    f = nlme.predictions(model, model.default_parameters(), np.zeros((1, 3)), design)[0]
    assert f[0] == pytest.approx(4.0) and f[1] < 3.5 and f[2] == pytest.approx(4.0, abs=1e-3)


def test_user_code_may_return_an_array():
    class Stacked(nlme.SaturableElimination):
        def vector_field(self, t, y, p):
            return jnp.stack(super().vector_field(t, y, p))

    design = nlme.Design.regular([0.5, 1.0], n_subjects=2, dose=1.0)
    arguments = MODEL.default_parameters(), np.zeros((2, 3)), design
    np.testing.assert_array_equal(
        nlme.predictions(Stacked(), *arguments), nlme.predictions(MODEL, *arguments)
    )


def user_model(tmp_path, **methods):
    """A model in a file of its own, one of its methods replaced."""
    body = {
        "individual": "return {'k': theta['k'] * jnp.exp(eta[0])}",
        "initial_state": "return (1.0, 0.0)",
        "vector_field": "return -p['k'] * y[0], p['k'] * y[0]",
        "prediction": "return y[1]",
    } | methods
    arguments = {
        "individual": "theta, eta, covariates",
        "initial_state": "p",
        "vector_field": "t, y, p",
        "prediction": "t, y, p",
    }
    text = "import math\nimport numpy as np\nimport jax.numpy as jnp\nfrom covary import nlme\n"
    text += "class M(nlme.OdeModel):\n    fixed_effects = {'k': 'positive'}\n"
    text += "    random_effects = ['a', 'b', 'c']\n"
    for method, code in body.items():
        text += f"    def {method}(self, {arguments[method]}):\n        {code}\n"
    (tmp_path / "m.py").write_text(text)
    return nlme.load_model(f"{tmp_path}/m.py:M")


@pytest.mark.parametrize(
    ("method", "code", "message"),
    [
        (
            "individual",
            "return {'k': theta['k'] * jnp.exp(eta[3])}",
            r"eta\[0\] … eta\[2\] \(a, b, c\): index 3",
        ),
        ("individual", "return {'k': theta['k'] * jnp.exp(eta[-4])}", "there are 3 random effects"),
        ("individual", "return {'k': theta['k'] * np.exp(eta[0])}", "line 9.: NumPy, math and float"),
        ("individual", "return {'k': theta['k'] * math.exp(eta[0])}", "line 9.: NumPy, math and float"),
        ("individual", "return {'k': theta['k'] if eta[0] > 0 else 1.0}", "line 9.: `if`, .* use jnp.where"),
        ("individual", "return theta['k']", "must return a dictionary of numbers"),
        (
            "vector_field",
            "return -p['k'] * max(y[0], 0.0), 0.0",
            "M.vector_field .line 13.: `if`, .* jnp.where",
        ),
        (
            "vector_field",
            "return -p['ke'] * y[0], 0.0",
            "M.vector_field .line 13. needs 'ke', which individual",
        ),
        ("vector_field", "return -p['k'] * y[2], 0.0", "M.vector_field .line 13.: the model has 2 states"),
        ("prediction", "return y[1] * np.sqrt(y[0])", "M.prediction .line 15.: NumPy"),
        ("prediction", "return {'a': y[1]}", "M.prediction must return a number, got outputs a"),
        ("prediction", "return y", "M.prediction must return a number, got a tuple"),
        ("prediction", "return 3.0 * y", "M.prediction .line 15.: y is a tuple of numbers, one per state"),
        ("vector_field", "return -p['k'] * y", "M.vector_field .line 13.: y is a tuple .* take y.0."),
        ("vector_field", "return -y", "M.vector_field .line 13.: y is a tuple"),
        ("vector_field", "return jnp.exp(y)", "M.vector_field .line 13.: y is a tuple .* jnp.stack.y."),
        ("vector_field", "return -p['k'] * y[0]", "vector_field must return a tuple .* single number"),
        ("initial_state", "return 1.0", r"initial_state must return a tuple .* single number; \(x,\) is"),
        ("initial_state", "return {'drug': 1.0}", "initial_state must return a tuple .* a dictionary"),
    ],
)
def test_slips_in_a_model_are_named_in_one_line(tmp_path, method, code, message):
    model = user_model(tmp_path, **{method: code})
    parameters = model.parameters([1.0], 1.0, nlme.Additive(1.0))
    design = nlme.Design.regular([1.0], n_subjects=1)
    with pytest.raises(ValueError, match=message) as error:
        nlme.predictions(model, parameters, np.zeros((1, 3)), design)
    assert len(str(error.value).splitlines()) == 1


def test_a_list_of_random_effects_will_do_but_no_single_string(tmp_path):
    model = user_model(tmp_path)
    parameters = model.parameters([1.0], 1.0, nlme.Additive(1.0))
    design = nlme.Design.regular([1.0], n_subjects=1)
    found = nlme.predictions(model, parameters, np.zeros((1, 3)), design)
    np.testing.assert_allclose(found, 1 - np.exp(-1), rtol=1e-5)
    type(model).random_effects = "eta"
    with pytest.raises(ValueError, match=r"M.random_effects must be a tuple of names, got 'eta'"):
        model.parameters([1.0], 1.0, nlme.Additive(1.0))


def test_residual_errors_and_ranges_that_are_none():
    with pytest.raises(ValueError, match=r"must be an error model such as nlme.Additive\(0.1\), got 0.1"):
        MODEL.parameters([1.0, 1.0, 1.0], 1.0, 0.1)

    class Misspelt(nlme.SaturableElimination):
        fixed_effects: ClassVar = {"tvKa": "postive", "tvImax": "positive", "tvIC50": "positive"}

    with pytest.raises(ValueError, match="fixed effect tvKa must be real or positive, got 'postive'"):
        Misspelt().parameters([1.0, 1.0, 1.0], 1.0, nlme.Additive(0.1))


def test_doses_into_a_compartment_that_does_not_exist_name_the_subject(tmp_path):
    (tmp_path / "t.csv").write_text("ID,TIME,AMT,CMT,DV\nA,0,1,1,.\nA,1,.,.,2\nB,3,1,4,.\nB,4,.,.,2\n")
    design = nlme.read_nonmem(tmp_path / "t.csv").design
    with pytest.raises(ValueError, match=r"subject B: doses must go to compartments 1 … 2 .*, got 4 at 3 h"):
        nlme.predictions(MODEL, MODEL.default_parameters(), np.zeros((2, 3)), design)


def test_closed_forms_refuse_compartments_that_they_do_not_have_or_do_not_tell_apart(tmp_path):
    rows = "ID,TIME,AMT,CMT,DV\nA,0,1,{0},.\nA,1,.,.,2\nB,3,1,{1},.\nB,4,.,.,2\n"

    def predicted(model, *compartments):
        (tmp_path / "t.csv").write_text(rows.format(*compartments))
        design = nlme.read_nonmem(tmp_path / "t.csv").design
        effects = len(model.fixed_effects)
        parameters = model.parameters([0.0] * effects, 1.0, nlme.Additive(1.0))
        return nlme.predictions(model, parameters, np.zeros((2, len(model.random_effects))), design)[:, 0]

    class Total(nlme.ClosedFormModel):
        fixed_effects: ClassVar = {"a": "real"}
        random_effects = ("eta",)

        def individual(self, theta, eta, covariates):
            return {"a": theta["a"] + eta[0]}

        def closed_form(self, time_h, doses, p):
            return p["a"] + jnp.sum(jnp.where(doses.given, doses.amount, 0.0), axis=1)

    class Second(Total):
        def closed_form(self, time_h, doses, p):
            counts = doses.given & (doses.compartment == 1)
            return p["a"] + jnp.sum(jnp.where(counts, doses.amount, 0.0), axis=1)

    oral = nlme.OneCompartmentOral()
    np.testing.assert_allclose(predicted(oral, 1, 2), [np.exp(-1), np.exp(-1)], rtol=1e-9)
    with pytest.raises(ValueError, match=r"subject B: doses must go to compartments 1 … 2 .*, got 3 at 3 h"):
        predicted(oral, 1, 3)
    np.testing.assert_array_equal(predicted(Total(), 2, 2), [1.0, 1.0])
    np.testing.assert_array_equal(predicted(Second(), 1, 2), [0.0, 1.0])
    with pytest.raises(ValueError, match=r"doses go to compartments 1, 2, but Total.closed_form does not"):
        predicted(Total(), 1, 2)


class Rise(nlme.ClosedFormModel):
    """y = a e^η t, which is 0 at time 0."""

    fixed_effects: ClassVar = {"a": "positive"}
    random_effects = ("eta",)

    def individual(self, theta, eta, covariates):
        return {"a": theta["a"] * jnp.exp(eta[0])}

    def closed_form(self, time_h, doses, p):
        return p["a"] * time_h


def test_observations_that_have_no_density_are_named_with_their_line(tmp_path):
    path, model = tmp_path / "table.csv", Rise()
    table = "ID,TIME,DV\n8,1,2\n8,2,{}\n7,0,{}\n7,2,2\n"
    path.write_text(table.format(2, 0.1))
    records = nlme.read_nonmem(path)
    for error, message in (
        (nlme.Proportional(0.1), r"variance is 0 at .*, where the prediction is 0; .* add an additive error"),
        (
            nlme.LogNormal(0.1),
            r"prediction has no logarithm at .* \(MDV = 1\) or choose another residual error",
        ),
    ):
        initial = model.parameters([1.0], 0.1, error)
        with pytest.raises(ValueError, match=message) as refused:
            nlme.fit_population(model, records, initial)
        where = "at its observation 1, at 0 h (line 4 of the table), where the prediction is 0"
        assert "subject 7" in str(refused.value) and where in str(refused.value)
    path.write_text(table.format(-1, 2))
    records = nlme.read_nonmem(path)
    message = (
        r"subject 8: observation 2 at 2 h \(line 3 of the table\) must be > 0 with a log-normal .*, got -1"
    )
    for refuses in (
        lambda: nlme.fit_population(model, records, initial),
        lambda: nlme.objective(model, initial, records),
        lambda: nlme.empirical_bayes(model, initial, records),
    ):
        with pytest.raises(ValueError, match=message):
            refuses()
    # Without a table there is no line.
    design = nlme.Design.regular([0.0, 1.0], n_subjects=1)
    initial = model.parameters([1.0], 0.1, nlme.Proportional(0.1))
    with pytest.raises(ValueError, match=r"subject 0 .* variance is 0 at its observation 1, at 0 h, where"):
        nlme.fit_population(model, nlme.Records.of(design, np.array([[0.1, 2.0]])), initial)
