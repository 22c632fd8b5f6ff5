"""Parameters, designs and NONMEM tables: round trips, and one clear line for whatever is wrong."""

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
    with pytest.raises(ValueError, match="subject 0 has no observations"):
        nlme.Records.of(design, np.array([[np.nan, np.nan], [0.0, 1.0]]), missing_as_nan=True)
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


def test_nonmem_round_trip(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text(
        '"ID","TIME","AMT","RATE","II","ADDL","EVID","CMT","DV","MDV","WT"\n'
        "7,0,100,0,12,2,1,1,.,1,70\n7,0,0,.,.,.,0,.,0.5,0,70\n7,12,.,.,.,.,0,.,2.5,0,70\n7,20,.,.,.,.,0,.,.,1,70\n"
        "\nK2,1,60,20,0,0,1,2,.,1,55.5\nK2,1.5,.,.,.,.,2,.,.,1,.\nK2,3,.,.,.,.,0,.,4.25,0,55.5\n"
    )
    records = nlme.read_nonmem(table)
    design = records.design
    assert design.subject_ids == ("7", "K2")
    np.testing.assert_array_equal(design.dose_time_h, [[0, 12, 24], [1, 0, 0]])
    np.testing.assert_array_equal(design.dose_duration_h, [[0, 0, 0], [3, 0, 0]])
    np.testing.assert_array_equal(design.doses_before, [[1, 2], [1, 0]])
    np.testing.assert_array_equal(records.present, [[True, True], [True, False]])
    np.testing.assert_array_equal(design.covariates["WT"], [70, 55.5])
    nlme.write_nonmem(tmp_path / "again.csv", records)
    again = nlme.read_nonmem(tmp_path / "again.csv")
    np.testing.assert_array_equal(again.observation, records.observation)
    for name in ("time_h", "observed", "dose_time_h", "dose_amount", "dose_duration_h", "doses_before"):
        np.testing.assert_array_equal(getattr(again.design, name), getattr(design, name), err_msg=name)


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=6, unique=True).map(sorted),
    st.floats(1e-3, 1e3),
    numbers,
)
def test_nonmem_keeps_every_digit(tmp_path_factory, times, dose, value):
    path = tmp_path_factory.mktemp("nonmem") / "table.csv"
    design = nlme.Design.regular(times, n_subjects=2, dose=dose)
    records = nlme.Records.of(design, np.full((2, len(times)), value))
    nlme.write_nonmem(path, records)
    again = nlme.read_nonmem(path)
    np.testing.assert_array_equal(again.observation, records.observation)
    np.testing.assert_array_equal(again.design.time_h, np.tile(times, (2, 1)))
    np.testing.assert_array_equal(again.design.dose_amount, np.full((2, 1), dose))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,0,.,0,abc,0", "line 2: DV must be a number or `.`, got 'abc'"),
        ("1,0,.,0,.,0", "line 2: DV must be a number in an observation"),
        ("1,2,.,0,1,0\n1,1,.,0,1,0", "line 3: TIME must not decrease within subject 1, got 1 after 2"),
        ("1,0,.,0,1,0\n2,0,.,0,1,0\n1,1,.,0,1,0", "line 4: the rows of subject 1 must follow one another"),
        ("1,0,.,0,1", "line 2: must have 6 fields, got 5"),
        ("1,0,0,1,.,1\n1,1,.,0,1,0", "line 2: AMT must be > 0 in a dose, got 0"),
        ("1,0,.,4,1,0", "line 2: EVID must be 0, 1 or 2"),
        ("1,.,.,0,1,0", "line 2: TIME must be a number, got a missing value"),
        ("1,0,5,1,.,1", "subject 1 has no observations"),
        ("1,inf,.,0,1,0", "line 2: TIME must be finite"),
    ],
)
def test_malformed_tables_are_reported_by_line(tmp_path, rows, message):
    (tmp_path / "bad.csv").write_text("ID,TIME,AMT,EVID,DV,MDV\n" + rows + "\n")
    with pytest.raises(ValueError) as error:
        nlme.read_nonmem(tmp_path / "bad.csv")
    assert message in str(error.value) and "bad.csv" in str(error.value)


def test_every_malformed_row_is_reported(tmp_path):
    (tmp_path / "bad.csv").write_text("ID,TIME,DV\n1,0,x\n1,1,2\n1,2,y\n")
    with pytest.raises(ValueError, match=r"line 2: (.|\n)*line 4: "):
        nlme.read_nonmem(tmp_path / "bad.csv")
    (tmp_path / "none.csv").write_text("ID,DV\n1,0\n")
    with pytest.raises(ValueError, match="must have the columns ID, TIME and DV, missing TIME"):
        nlme.read_nonmem(tmp_path / "none.csv")


def test_user_code_may_return_an_array():
    class Stacked(nlme.SaturableElimination):
        def vector_field(self, t, y, p):
            return jnp.stack(super().vector_field(t, y, p))

    design = nlme.Design.regular([0.5, 1.0], n_subjects=2, dose=1.0)
    arguments = MODEL.default_parameters(), np.zeros((2, 3)), design
    np.testing.assert_array_equal(
        nlme.predictions(Stacked(), *arguments), nlme.predictions(MODEL, *arguments)
    )
