"""What a configuration says of visits, doses, covariates, true parameters and the start of the fit."""

import numpy as np
import pytest
from scipy import stats

from covary import nlme
from covary.config.records import Longitudinal, PopulationFit
from covary.dataset.groups import label_records
from covary.errors import UserError
from covary.records.regimens import planned_design
from covary.records.study import Study
from covary.records.truth import initial_parameters, true_parameters


def parameters(model: str = "saturable_elimination", **settings):
    loaded = nlme.load_model(model)
    return loaded, true_parameters(loaded, Longitudinal(model=model, **settings))


def test_the_default_is_the_papers_study():
    model, truth = parameters()
    assert truth.theta == {"tvKa": 1.0, "tvImax": 2.1, "tvIC50": 0.4}
    assert truth.residual == nlme.Additive(0.01)
    np.testing.assert_array_equal(truth.omega, np.eye(3))
    start = initial_parameters(model, truth, PopulationFit())
    assert list(start.theta.values()) == [1.0, 1.1, 0.6]
    assert start.residual == nlme.Additive(0.1)
    np.testing.assert_array_equal(start.omega, 0.2 * np.eye(3))
    design = planned_design(Longitudinal(), 4, seed=1)
    assert design.time_h.tolist() == [[0.5 * i for i in range(21)]]
    assert (design.dose_time_h.tolist(), design.dose_amount.tolist()) == ([[0.0]], [[1.0]])


def test_another_model_keeps_its_own_omega_error_and_start():
    model, truth = parameters("one_compartment_oral")
    own = model.default_parameters()
    assert (truth.theta, truth.residual) == (own.theta, own.residual)
    np.testing.assert_array_equal(truth.omega, own.omega)
    assert initial_parameters(model, truth, PopulationFit()).theta == own.theta


@pytest.mark.parametrize(
    ("residual", "expected"),
    [
        ({"error": "additive", "sd": 0.2}, nlme.Additive(0.2)),
        ({"error": "proportional", "sd": 0.2}, nlme.Proportional(0.2)),
        ({"error": "log_normal", "sd": 0.2}, nlme.LogNormal(0.2)),
        ({"error": "combined", "additive_sd": 1.0, "proportional_sd": 0.2}, nlme.Combined(1.0, 0.2)),
        (
            {"error": "combined", "additive_sd": 1.0, "proportional_sd": 0.2, "adds": "standard_deviations"},
            nlme.Combined(1.0, 0.2, "standard_deviations"),
        ),
    ],
)
def test_a_residual_error_replaces_the_models_and_its_kind_is_fitted(residual, expected):
    model, truth = parameters(residual=residual)
    assert truth.residual == expected
    start = initial_parameters(model, truth, PopulationFit(initial_sigma=0.5)).residual
    assert type(start) is type(expected)
    assert {v for k, v in vars(start).items() if k != "adds"} == {0.5}
    assert getattr(start, "adds", None) == getattr(expected, "adds", None)


@pytest.mark.parametrize(
    ("omega", "matrix"),
    [
        (0.5, np.eye(3) / 2),
        ([1.0, 2.0, 3.0], np.diag([1.0, 2.0, 3.0])),
        ([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]],) * 2,
    ],
)
def test_omega_replaces_the_models(omega, matrix):
    np.testing.assert_array_equal(parameters(omega=omega)[1].omega, matrix)


def test_an_omega_of_another_size_is_refused():
    with pytest.raises(UserError):
        parameters(omega=[1.0, 2.0])


def test_doses_reach_the_design():
    settings = Longitudinal(
        times_h=[1.0, 5.0, 30.0],
        regimen=[
            {"time_h": 0.0, "amount": 100.0, "additional": 2, "interval_h": 12.0},
            {"time_h": 6.0, "amount": 50.0, "duration_h": 2.0, "compartment": 2},
        ],
    )
    design = planned_design(settings, 3, seed=1)
    assert design.dose_time_h.tolist() == [[0.0, 6.0, 12.0, 24.0]]
    assert design.dose_amount.tolist() == [[100.0, 50.0, 100.0, 100.0]]
    assert design.dose_duration_h.tolist() == [[0.0, 2.0, 0.0, 0.0]]
    assert design.dose_compartment.tolist() == [[0, 1, 0, 0]]
    assert design.doses_before.tolist() == [[1, 1, 4]]


def covariate(n: int, **settings) -> np.ndarray:
    study = Longitudinal(covariates={"WT": settings})
    return planned_design(study, n, seed=3).covariates["WT"]


def test_covariates_have_their_distribution_within_its_limits():
    n = 20_000
    assert (covariate(5, mean=70.0) == 70.0).all()
    normal = covariate(n, mean=70.0, sd=10.0)
    assert stats.kstest(normal, stats.norm(70, 10).cdf).pvalue > 0.001
    log_normal = covariate(n, mean=70.0, sd=10.0, distribution="log_normal")
    assert log_normal.mean() == pytest.approx(70.0, abs=4 * 10 / np.sqrt(n))
    assert log_normal.std() == pytest.approx(10.0, rel=0.05)
    assert stats.kstest(np.log(log_normal), stats.norm(np.log(log_normal).mean(),
                        np.log1p(1 / 49) ** 0.5).cdf).pvalue > 0.001  # fmt: skip
    for distribution in ("normal", "log_normal"):
        cut = covariate(n, mean=70.0, sd=10.0, distribution=distribution, minimum=65.0, maximum=80.0)
        assert 65.0 <= cut.min() < 65.1 and 79.9 < cut.max() <= 80.0
    assert (covariate(n, mean=1.0, sd=2.0, distribution="log_normal", minimum=-1.0) > 0).all()


def test_more_subjects_leave_the_covariates_of_others_as_they_were():
    np.testing.assert_array_equal(covariate(10, mean=70.0, sd=10.0), covariate(99, mean=70.0, sd=10.0)[:10])


TABLE = """ID,TIME,AMT,RATE,DV,MDV,EVID,WT,CRCL
7,0,100,0,.,1,1,60,90
7,1,.,.,.,0,0,60,90
7,4,.,.,.,0,0,60,80
8,0,50,25,.,1,1,80,70
8,2,.,.,.,0,0,80,70
8,6,20,0,.,1,1,80,70
8,6.5,.,.,.,0,0,80,70
8,8,.,.,.,0,0,80,70
"""


def test_subjects_have_the_visits_doses_and_covariates_of_a_table(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text(TABLE)
    design = planned_design(Longitudinal(design=str(table)), 40, seed=3)
    assert design.n_subjects == 40
    np.testing.assert_array_equal(design.time_h, np.tile([1, 2, 4, 6.5, 8], (40, 1)))
    is_second = design.covariates["WT"] == 80
    assert 5 < is_second.sum() < 35
    for second, visits, amounts, durations, before in (
        (False, [1, 0, 1, 0, 0], [100, 0], [0, 0], [1, 1, 1, 1, 1]),
        (True, [0, 1, 0, 1, 1], [50, 20], [2, 0], [1, 1, 1, 2, 2]),
    ):
        rows = np.flatnonzero(is_second == second)
        for array, expected in (
            (design.observed, visits),
            (design.dose_amount, amounts),
            (design.dose_duration_h, durations),
            (design.doses_before, before),
        ):
            np.testing.assert_array_equal(array[rows], np.tile(expected, (len(rows), 1)))
    assert "CRCL" not in design.covariates and design.unusable["CRCL"] == "changes within a subject"
    # Each subject's draw is its own, however many there are.
    fewer = planned_design(Longitudinal(design=str(table)), 9, seed=3)
    np.testing.assert_array_equal(fewer.covariates["WT"], design.covariates["WT"][:9])


def test_records_of_a_table_are_whole_curves_of_which_each_subject_observes_its_visits(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text(TABLE)
    study = Study.planned(Longitudinal(model="one_compartment_oral", design=str(table)), 12, seed=3)
    eta = np.zeros((12, 3))
    curves = study.predictions(eta)
    assert np.isfinite(curves).all()
    is_second = study.design.covariates["WT"] == 80
    assert np.unique(curves.round(9), axis=0).shape == (2, 5)
    observed = study.observed(study.simulate(eta, seed=1, stream="x"), eta, [], seed=1, start=0)
    np.testing.assert_array_equal(np.isfinite(observed[is_second][0]), [0, 1, 0, 1, 1])
    np.testing.assert_array_equal(np.isfinite(observed[~is_second][0]), [1, 0, 1, 0, 0])
    part = study.observed(observed[4:9], eta[4:9], [], seed=1, start=4)
    np.testing.assert_array_equal(part, observed[4:9])
    group = study.label()
    assert group["observed"].dims == ("subject", "time") and group["observed"].values.mean() < 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("7,4,.,.,.,0,0,60,80", "subject 7 has two observations at 4 h"),
        ("8,9,.,.,.,1,3,80,70", "resets"),
        ("8,9,10,-2,.,1,1,80,70", "rates −1 or −2"),
        ("8,nine,.,.,.,0,0,80,70", "TIME"),
    ],
)
def test_what_a_dataset_does_not_keep_is_refused_in_one_line(tmp_path, row, message):
    table = tmp_path / "table.csv"
    lines = TABLE.splitlines()
    lines.insert(4 if row.startswith("7") else len(lines), row)
    table.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=rf"^longitudinal\.design: [^\n]*{message}[^\n]*$"):
        planned_design(Longitudinal(design=str(table)), 4, seed=3)
    with pytest.raises(UserError, match=r"^longitudinal\.design: [^\n]*nowhere"):
        planned_design(Longitudinal(design=str(tmp_path / "nowhere.csv")), 4, seed=3)


def test_units_and_names_of_the_model_are_in_the_dataset(tmp_path):
    file = tmp_path / "days.py"
    file.write_text(
        "from covary.nlme.models import OneCompartmentOral\n\n\n"
        "class Days(OneCompartmentOral):\n    time_unit = 'd'\n    outcome_unit = 'mg/l'\n"
    )
    study = Study.planned(Longitudinal(model=f"{file}:Days"), 3, seed=1)
    group = study.label()
    assert group.attrs["random_effects"] == ["eta_ka", "eta_cl", "eta_v"]
    for name in ("start_h", "time_h", "dose_time_h", "dose_duration_h"):
        assert group[name].attrs["units"] == "d"
    eta = np.zeros((3, 3))
    records = label_records(eta, study.predictions(eta), study.times_h, study.model)
    assert records["time"].attrs["units"] == "d" and records["observation"].attrs["units"] == "mg/l"
    assert (
        label_records(eta, study.predictions(eta), study.times_h, nlme.load_model("saturable_elimination"))[
            "time"
        ].attrs["units"]
        == "h"
    )
