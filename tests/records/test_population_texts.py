"""What is written of a population fit, by every kind of method."""

import io
import json

import numpy as np
import pandas as pd
import pytest

from covary import nlme, rng
from covary.config.records import Longitudinal, PopulationFit
from covary.errors import UserError
from covary.records.population import fit_in_texts
from covary.records.study import Study

N = 20


@pytest.fixture(scope="module")
def study():
    nlme.configure()
    settings = Longitudinal(
        model="one_compartment_oral", times_h=[0.5, 2.0, 8.0, 24.0], regimen=[{"time_h": 0, "amount": 300}]
    )
    return Study.planned(settings, N, 1)


@pytest.mark.slow
def test_a_bound_is_written_in_the_columns_of_a_likelihood(study):
    observation = study.simulate(rng.normal(1, "eta", 0, N, (3,)), seed=1, stream="y")
    written = {}
    for method in ("foce", "elbo"):
        texts = fit_in_texts(study, observation, slice(0, N), PopulationFit(method=method, initial_sigma=1.0))
        written[method] = [json.loads(texts[0]), pd.read_csv(io.StringIO(texts[1])), json.loads(texts[2])]
    (_, foce, likely), (_, elbo, bounded) = written["foce"], written["elbo"]
    assert list(elbo.columns) == list(foce.columns) and elbo["parameter"].equals(foce["parameter"])
    fixed = elbo["parameter"].isin(["tka", "tcl", "tv"])
    np.testing.assert_allclose(elbo.loc[fixed, "estimate"], foce.loc[fixed, "estimate"], atol=0.1)
    assert elbo["se"].isna().all() and not elbo["fixed"].any()
    assert (likely["method"], bounded["method"]) == ("foce", "elbo")
    assert "minus_two_log_likelihood" not in bounded
    assert bounded["observations"] == likely["observations"] == 4 * N
    assert -2 * bounded["elbo"] == pytest.approx(likely["minus_two_log_likelihood"], abs=8)


def test_a_network_that_a_run_would_not_keep_is_refused():
    nlme.configure()
    study = Study.planned(Longitudinal(model="neural_elimination"), 2, 1)
    study.check(PopulationFit())
    with pytest.raises(UserError, match=r"longitudinal\.model: method elbo would train its network"):
        study.check(PopulationFit(method="elbo"))
