import numpy as np
import pytest
from designs import ORAL_TIMES_H

from covary import figures, nlme, rng
from covary.nlme.diagnostics import predictive_check, residual_table


@pytest.fixture(scope="module")
def fitted():
    """A model with its true parameters, and records of eight subjects."""
    model = nlme.load_model("one_compartment_oral")
    parameters = model.default_parameters()
    design = nlme.Design.regular(ORAL_TIMES_H, n_subjects=8, dose=4.0)
    eta = 0.1 * rng.normal(1, "eta", 0, 8, (len(parameters.random_effects),))
    observation = nlme.simulate(model, parameters, eta, design, 1).observation
    return model, parameters, nlme.Records.of(design, observation)


def test_goodness_of_fit_has_a_column_per_noise_level(fitted):
    table = residual_table(*fitted, method="focei")
    axes = np.array(figures.goodness_of_fit({0.0: table, 9.0: table}, ("d", "mm")).axes).reshape(2, 2)
    points = axes[0, 1].lines[-1]
    np.testing.assert_allclose(points.get_xdata(), table["IPRED"])
    np.testing.assert_allclose(points.get_ydata(), table["DV"])
    np.testing.assert_allclose(axes[1, 0].lines[-1].get_ydata(), table["CWRES"])
    assert axes[0, 1].get_title() == "σ²\u00a0=\u00a09"
    assert axes[1, 0].get_xlabel() == "time (d)" and axes[0, 0].get_ylabel() == "observed outcome\n(mm)"


def test_predictive_checks_show_observed_percentiles_over_simulated_bands(fitted):
    check = predictive_check(*fitted, 1, replicates=20, bins=4)
    (axis,) = figures.predictive_checks({0.0: check}, ("d", "mm")).axes
    for line, (_, rows) in zip(axis.lines, check.bands.groupby("percentile"), strict=True):
        np.testing.assert_allclose(line.get_ydata(), rows["observed"])
    assert len(axis.collections) == 3
