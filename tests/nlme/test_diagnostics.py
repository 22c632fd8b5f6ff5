"""Diagnostics: residuals of a model that fits are standard normal; figures show what the tables hold."""

import dataclasses
import inspect
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from covary import nlme
from covary.figures import population
from covary.nlme import diagnostics
from covary.nlme.variability import coefficients_of_variation


@pytest.fixture(scope="module")
def theoph():
    model = nlme.OneCompartmentOral()
    parameters = model.parameters(
        [0.463883, 1.012158, 3.459745], [0.402356, 0.069095, 0.019160], nlme.Additive(0.694409)
    )
    return model, parameters, nlme.read_nonmem(Path(__file__).parents[1] / "data" / "theoph_nonmem.csv")


def test_residuals(theoph):
    table = diagnostics.residual_table(*theoph, method="focei")
    model, parameters, records = theoph
    assert len(table) == 132 and list(table["ID"].unique()) == [str(i) for i in range(1, 13)]
    np.testing.assert_allclose(table["IWRES"], (table["DV"] - table["IPRED"]) / 0.694409)
    typical = nlme.predictions(model, parameters, np.zeros((12, 3)), records.design)
    np.testing.assert_allclose(table["PRED"], typical.ravel(), atol=1e-9)
    assert abs(table["CWRES"].mean()) < 0.2 and table["CWRES"].std() == pytest.approx(1.0, abs=0.1)


def test_cwres_of_a_correct_model_is_standard_normal(theoph):
    """The twelve subjects of the study simulated 25 times, which needs no further program."""
    model, parameters, records = theoph
    sd, tables = np.sqrt(np.diag(parameters.omega)), []
    for seed in range(25):
        eta = np.random.default_rng(seed).standard_normal((12, 3)) * sd
        y = nlme.simulate(model, parameters, eta, records.design, seed).observation
        simulated = nlme.Records.of(records.design, y)
        tables.append(nlme.residual_table(model, parameters, simulated, method="focei"))
    cwres = pd.concat(tables)["CWRES"]
    assert abs(cwres.mean()) < 0.06
    assert cwres.std() == pytest.approx(1.0, abs=0.04)


def test_predictive_check_covers_the_observations(theoph):
    check = nlme.predictive_check(*theoph, 1, replicates=60, bins=5)
    bands = check.bands
    assert np.all(bands["low"] <= bands["median"]) and np.all(bands["median"] <= bands["high"])
    inside = (bands["low"] <= bands["observed"]) & (bands["observed"] <= bands["high"])
    assert inside.mean() > 0.7 and len(check.points) == 132
    assert nlme.predictive_check(*theoph, 1, replicates=60, bins=5).bands.equals(bands)


def dosed(doses, seed=4):
    """Records of subjects with doses of their own, and a covariate that tells them apart."""
    model = nlme.OneCompartmentOral()
    parameters = model.parameters([0.46, 1.0, 3.46], [0.1, 0.07, 0.02], nlme.Proportional(0.1))
    n = len(doses)
    one = nlme.Design.regular([1.0, 3.0, 8.0, 20.0], n_subjects=n, dose=1.0, covariates={"DOSE": doses})
    row = {"time_h", "start_h", "observed", "dose_time_h", "dose_duration_h", "dose_compartment"}
    own = {name: np.repeat(getattr(one, name), n, axis=0) for name in (*row, "doses_before")}
    design = dataclasses.replace(one, **own, dose_amount=np.array(doses)[:, None])
    eta = np.random.default_rng(seed).standard_normal((n, 3)) * np.sqrt(np.diag(parameters.omega))
    return (
        model,
        parameters,
        nlme.Records.of(design, nlme.simulate(model, parameters, eta, design, seed).observation),
    )


def test_prediction_correction_takes_the_doses_out():
    """A model that is linear in the dose: corrected, it looks as if all had the median dose of their bin."""
    doses = np.tile([50.0, 100.0, 400.0], 20)
    model, parameters, records = dosed(doses)
    check = nlme.predictive_check(
        model, parameters, records, 1, replicates=20, bins=4, prediction_corrected=True
    )
    value = check.points["value"].to_numpy().reshape(60, 4)
    np.testing.assert_allclose(value, records.observation * 100 / doses[:, None], rtol=1e-9)
    # So do the bands: they are those of the same subjects under the median dose.
    alike = nlme.predictive_check(*dosed(np.full(60, 100.0)), 1, replicates=20, bins=4)
    np.testing.assert_allclose(check.bands, alike.bands, rtol=1e-6)
    strata = nlme.predictive_check(model, parameters, records, 1, replicates=20, bins=4, stratify="DOSE")
    assert strata.bands.groupby("stratum").size().to_dict() == {50.0: 12, 100.0: 12, 400.0: 12}
    observed = strata.bands.query("stratum == 50 and percentile == 50")["observed"]
    np.testing.assert_allclose(observed, np.median(records.observation[::3], axis=0))
    with pytest.raises(ValueError, match=r"stratify must be a covariate .*: DOSE; got 'SEX'"):
        nlme.predictive_check(model, parameters, records, 1, replicates=2, stratify="SEX")


class Line(nlme.ClosedFormModel):
    """y = a + η + b t: observations are jointly normal."""

    fixed_effects: ClassVar = {"a": "real", "b": "real"}
    random_effects = ("eta",)

    def individual(self, theta, eta, covariates):
        return {"a": theta["a"] + eta[0], "b": theta["b"]}

    def closed_form(self, time_h, doses, p):
        return p["a"] + p["b"] * time_h


def lines(n=100):
    model, times = Line(), np.arange(4.0)
    parameters = model.parameters([2.0, -1.0], 0.8, nlme.Additive(0.5))
    design = nlme.Design.regular(times, n_subjects=n)
    eta = np.random.default_rng(2).standard_normal((n, 1)) * np.sqrt(0.8)
    return model, parameters, nlme.Records.of(design, nlme.simulate(model, parameters, eta, design, 9)[1])


def test_npde_of_a_normal_model_are_its_decorrelated_residuals():
    model, parameters, records = lines()
    table = nlme.npde(model, parameters, records, 1, replicates=2000)
    covariance = 0.8 + 0.25 * np.eye(4)
    white = np.linalg.solve(np.linalg.cholesky(covariance), (records.observation - (2.0 - np.arange(4.0))).T)
    expected = white.T.ravel()
    inner = np.abs(expected) < 2
    difference = (table["NPDE"] - expected)[inner]
    assert np.abs(difference).max() < 0.3 and difference.std() < 0.06
    assert abs(table["NPDE"].mean()) < 0.15 and table["NPDE"].std() == pytest.approx(1.0, abs=0.1)
    wrong = model.parameters([2.0, -1.0], 0.8, nlme.Additive(1.0))
    assert nlme.npde(model, wrong, records, 1, replicates=500)["NPDE"].std() < 0.8
    with pytest.raises(ValueError, match="replicates must exceed the 4 observations"):
        nlme.npde(model, parameters, records, 1, replicates=4)


def test_residuals_are_those_of_the_method():
    model, _, records = lines(12)
    parameters = model.parameters([2.0, -1.0], 0.8, nlme.Combined(0.28, 0.4))
    tables = {m: nlme.residual_table(model, parameters, records, method=m) for m in ("foce", "focei", "fo")}
    for method, table in tables.items():
        eta = nlme.empirical_bayes(model, parameters, records, interaction=method != "foce").eta
        ipred = nlme.predictions(model, parameters, eta, records.design).ravel()
        np.testing.assert_allclose(table["IPRED"], ipred, atol=1e-9)
        variance = 0.28**2 + (0.4 * table["PRED" if method == "foce" else "IPRED"]) ** 2
        np.testing.assert_allclose(table["IWRES"], (table["DV"] - ipred) / np.sqrt(variance), rtol=1e-9)
    assert np.abs(tables["foce"]["IPRED"] - tables["focei"]["IPRED"]).max() > 0.01
    # FO: y − f(0) decorrelated with J Ω J' + R at η = 0, whose quadratic form is part of the OFV.
    ofv = nlme.objective(model, parameters, records, method="fo").ofv
    f = 2.0 - np.arange(4.0)
    c = 0.8 + np.diag(0.28**2 + (0.4 * f) ** 2)
    for i, (_, own) in enumerate(tables["fo"].groupby("ID", sort=False)):
        assert np.linalg.slogdet(c)[1] + np.sum(own["CWRES"] ** 2) == pytest.approx(ofv[i], abs=1e-8)


def test_censored_values_have_no_residuals():
    """Residuals of the others are those of a record without the censored values, at the same estimates."""
    model, parameters, records = lines(12)
    low = np.full(records.present.shape, np.nan)
    high = low.copy()
    low[2, 2:], high[2, 2:], low[3, 1], high[3, 1] = -np.inf, -0.5, 1.5, np.inf
    bounds = nlme.Bounds(low, high, np.full(low.shape, -np.inf))
    censored = nlme.Records(records.design, records.observation, records.present, bounds)
    table = nlme.residual_table(model, parameters, censored, method="focei")
    assert table.groupby("CENS").size().to_dict() == {-1: 1, 0: 45, 1: 2}
    limit = (table["CENS"] != 0).to_numpy()
    assert table.loc[limit, ["IWRES", "CWRES"]].isna().to_numpy().all()
    eta = nlme.empirical_bayes(model, parameters, censored).eta
    f = nlme.predictions(model, parameters, eta, records.design).ravel()
    np.testing.assert_allclose(table["IPRED"], f, atol=1e-9)
    np.testing.assert_allclose(table["IWRES"][~limit], ((table["DV"] - f) / 0.5)[~limit], rtol=1e-6)
    # y − E y of the two values that subject 2 has left, decorrelated with the root of their covariance
    values, vectors = np.linalg.eigh(0.8 + 0.25 * np.eye(2))
    white = vectors @ ((vectors.T @ (records.observation[2, :2] - [2.0, 1.0])) / np.sqrt(values))
    np.testing.assert_allclose(table[table["ID"] == "2"]["CWRES"][:2], white, rtol=1e-6)
    assert nlme.epsilon_shrinkage(table)[""] == pytest.approx(1 - table["IWRES"][~limit].std())
    for function in (nlme.predictive_check, nlme.npde):
        with pytest.raises(ValueError, match=f"{function.__name__} cannot use censored observations"):
            function(model, parameters, censored, 1, replicates=20)


def test_shrinkage_criteria_and_variation(theoph):
    model, _, records = theoph
    fit = nlme.fit_population(model, records, model.default_parameters(), method="fo")
    assert fit.converged and "variance" not in fit.verdict and np.all(fit.standard_errors() > 0)
    modes = nlme.empirical_bayes(model, fit.parameters, records).eta
    sd = np.sqrt(np.diag(fit.parameters.omega))
    np.testing.assert_allclose(fit.shrinkage(), 1 - modes.std(axis=0, ddof=1) / sd, atol=1e-6)
    assert np.all(fit.shrinkage() < 0.5)
    table = nlme.residual_table(model, fit.parameters, records, method="fo")
    assert nlme.epsilon_shrinkage(table) == {"": pytest.approx(1 - table["IWRES"].std())}
    assert fit.n_parameters == 7
    assert fit.aic == pytest.approx(fit.minus_two_log_likelihood + 14)
    assert fit.bic == pytest.approx(fit.minus_two_log_likelihood + 7 * np.log(132))
    fewer = nlme.fit_population(model, records, fit.parameters, method="fo", fixed=("tv",), covariance=False)
    both = nlme.compare({"all": fit, "tv fixed": fewer})
    assert list(both["parameters"]) == [6, 7] and both["delta_aic"][1] == pytest.approx(2.0, abs=1e-3)
    for name in ("PopulationFit(OneCompartmentOral, FO, OFV 103.86", "7 parameters", "converged"):
        assert name in repr(fit)
    assert len(repr(fit)) < 300
    with pytest.raises(ValueError, match="fits of different methods cannot be compared: "):
        nlme.compare({"fo": fit, "focei": fit._replace(method="focei")})


def test_shrinkage_of_residuals_is_that_of_the_closed_form():
    """The mode of a level is n ω²/(n ω² + σ²) of the mean residual."""
    model, parameters, records = lines(12)
    residual = records.observation - (2.0 - np.arange(4.0))
    modes = 4 * 0.8 / (4 * 0.8 + 0.25) * residual.mean(axis=1, keepdims=True)
    table = nlme.residual_table(model, parameters, records, method="focei")
    expected = 1 - np.std((residual - modes) / 0.5, ddof=1)
    assert nlme.epsilon_shrinkage(table) == {"": pytest.approx(expected, abs=1e-6)}
    assert expected > 0.05


def test_variation_of_additive_and_log_normal_parameters(theoph):
    model, parameters, _ = theoph
    cv = coefficients_of_variation(model, parameters, {})
    np.testing.assert_allclose(cv, np.sqrt(np.expm1(np.diag(parameters.omega))), rtol=1e-9)
    line = Line()
    np.testing.assert_allclose(
        coefficients_of_variation(line, line.parameters([-4.0, 1.0], 0.25, nlme.Additive(1.0)), {}), [0.125]
    )


def test_individual_curves_pass_through_the_predictions(theoph):
    model, parameters, records = theoph
    eta = nlme.empirical_bayes(model, parameters, records).eta
    curves = nlme.individual_curves(model, parameters, records, eta, points=50)
    table = nlme.residual_table(model, parameters, records, method="focei")
    assert 12 * 45 < len(curves) < 12 * 70
    both = table.merge(curves, on=["ID", "TIME"], suffixes=("", "_curve"))
    assert len(both) >= len(table)
    last = both.groupby(["ID", "TIME"]).last()
    np.testing.assert_allclose(last["IPRED_curve"], last["IPRED"], atol=1e-9)
    np.testing.assert_allclose(last["PRED_curve"], last["PRED"], atol=1e-9)


def test_results_have_short_names(theoph):
    modes = nlme.empirical_bayes(*theoph)
    assert (
        repr(modes)
        == "EmpiricalBayes(12 subjects: 12 converged, 0 local_mode_suspected, 0 failed, 0 no_record)"
    )
    assert repr(nlme.objective(*theoph)) == "Marginal(12 subjects, OFV 116.8034)"
    simulation = nlme.simulate(*theoph[:2], np.zeros((12, 3)), theoph[2].design, 1)
    assert repr(simulation) == "Simulation(12 subjects, 11 times, 0 failed)"
    draws = nlme.posterior_draws(*theoph, modes, 4, 1)
    assert repr(draws).startswith("Draws(12 subjects, 4 draws each, median effective sample size ")


def test_the_face_of_the_engine_is_exact():
    public = {n for n, v in vars(nlme).items() if not n.startswith("_") and not inspect.ismodule(v)}
    assert public == set(nlme.__all__) and len(nlme.__all__) == len(public)


def test_figures_show_every_observation(theoph, tmp_path):
    table = nlme.residual_table(*theoph, method="focei")
    modes = nlme.empirical_bayes(*theoph)
    curves = nlme.individual_curves(*theoph, modes.eta)
    check = nlme.predictive_check(*theoph, 1, replicates=20, bins=4)
    fit = population.goodness_of_fit_figure(table)
    assert [len(ax.lines[-1].get_xdata()) for ax in fit.axes] == [132] * 4
    people = population.individual_fits_figure(table, curves)
    assert sum(len(ax.lines[2].get_xdata()) for ax in people.axes) == 132
    vpc = population.predictive_check_figure(check)
    assert len(vpc.axes[0].lines[0].get_xdata()) == 132
    for name, figure in {
        "gof": fit,
        "people": people,
        "vpc": vpc,
        "npde": population.npde_figure(nlme.npde(*theoph, 1, replicates=50)),
        "shrinkage": population.shrinkage_figure(modes.eta, theoph[1]),
    }.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
