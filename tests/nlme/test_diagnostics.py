"""Diagnostics: residuals of a model that fits are standard normal; figures show what the tables hold."""

from pathlib import Path

import numpy as np
import pytest

from covary import nlme
from covary.figures import population
from covary.nlme import diagnostics


@pytest.fixture(scope="module")
def theoph():
    model = nlme.OneCompartmentOral()
    parameters = model.parameters(
        [0.463883, 1.012158, 3.459745], [0.402356, 0.069095, 0.019160], nlme.Additive(0.694409)
    )
    return model, parameters, nlme.read_nonmem(Path(__file__).parents[1] / "data" / "theoph_nonmem.csv")


def test_residuals(theoph):
    table = diagnostics.residual_table(*theoph)
    model, parameters, records = theoph
    assert len(table) == 132 and list(table["ID"].unique()) == [str(i) for i in range(1, 13)]
    np.testing.assert_allclose(table["IWRES"], (table["DV"] - table["IPRED"]) / 0.694409)
    typical = nlme.predictions(model, parameters, np.zeros((12, 3)), records.design)
    np.testing.assert_allclose(table["PRED"], typical.ravel(), atol=1e-9)
    assert abs(table["CWRES"].mean()) < 0.2 and table["CWRES"].std() == pytest.approx(1.0, abs=0.1)


def test_cwres_of_a_correct_model_is_standard_normal(theoph):
    model, parameters, _ = theoph
    n = 300
    design = nlme.Design.regular([0.25, 0.5, 1.0, 2.0, 4.0, 7.0, 12.0, 24.0], n_subjects=n, dose=320.0)
    eta = np.random.default_rng(1).standard_normal((n, 3)) @ np.diag(np.sqrt(np.diag(parameters.omega)))
    records = nlme.Records.of(design, nlme.simulate(model, parameters, eta, design, 3).observation)
    table = diagnostics.residual_table(model, parameters, records)
    assert abs(table["CWRES"].mean()) < 0.06
    assert table["CWRES"].std() == pytest.approx(1.0, abs=0.04)


def test_predictive_check_covers_the_observations(theoph):
    check = diagnostics.predictive_check(*theoph, 1, replicates=60, bins=5)
    assert np.all(check["low"] <= check["median"]) and np.all(check["median"] <= check["high"])
    inside = (check["low"] <= check["observed"]) & (check["observed"] <= check["high"])
    assert inside.mean() > 0.7
    assert diagnostics.predictive_check(*theoph, 1, replicates=60, bins=5).equals(check)


def test_figures_show_every_observation(theoph, tmp_path):
    table = diagnostics.residual_table(*theoph)
    modes = nlme.empirical_bayes(*theoph)
    check = diagnostics.predictive_check(*theoph, 1, replicates=20, bins=4)
    fit = population.goodness_of_fit_figure(table)
    assert [len(ax.lines[-1].get_xdata()) for ax in fit.axes] == [132] * 4
    people = population.individual_fits_figure(table)
    assert sum(len(ax.lines[2].get_xdata()) for ax in people.axes) == 132
    for name, figure in {
        "gof": fit,
        "people": people,
        "vpc": population.predictive_check_figure(check),
        "shrinkage": population.shrinkage_figure(modes.eta, theoph[1]),
    }.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
