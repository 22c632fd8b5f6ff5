"""The encoder: its bound is that of free posteriors, and it reads what was given and seen, nothing else."""

import dataclasses

import equinox as eqx
import numpy as np
import pytest
from linear_models import Line

from covary import nlme
from covary.errors import UserError
from covary.nlme.encoder import Recurrent, Scales
from covary.nlme.variational import bound_of, fit_variational, variational_posterior

TIMES = np.arange(4.0)
N, NEW = 60, 100


def records_of(seed: int, n: int) -> nlme.Records:
    """Records of which a fifth of the visits is missing."""
    model, random = Line(), np.random.default_rng(seed)
    truth = model.parameters([1.0, -0.5], [[0.5, 0.2], [0.2, 0.3]], nlme.Additive(0.4))
    eta = random.multivariate_normal([0.0, 0.0], truth.omega, n)
    design = nlme.Design.regular(TIMES, n_subjects=n)
    observation = nlme.simulate(model, truth, eta, design, seed).observation
    missing = random.uniform(size=observation.shape) < 0.2
    return nlme.Records.of(design, np.where(missing, np.nan, observation), missing_as_nan=True)


@pytest.fixture(scope="module")
def fitted():
    nlme.configure()
    model, records = Line(), records_of(1, N)
    start = model.parameters([0.5, 0.0], [[0.7, 0.1], [0.1, 0.7]], nlme.Additive(0.6))
    return records, fit_variational(model, records, start, steps=300, final_steps=200, encoder_width=16)


def test_the_encoders_bound_is_that_of_free_posteriors(fitted):
    records, fit = fitted
    free = variational_posterior(fit.model, fit.parameters, records)
    assert 0 <= np.mean(free.bound.elbo - fit.bound.elbo) + 1e-6 < 0.05
    # and its population parameters are those of maximum likelihood
    exact = nlme.fit_population(Line(), records, fit.parameters, covariance=False)
    assert -2 * fit.bound.elbo.sum() == pytest.approx(exact.minus_two_log_likelihood, abs=0.05 * N)


def test_a_new_subject_gets_its_posterior_without_a_search(fitted):
    _, fit = fitted
    new = records_of(2, NEW)
    q = fit.encoder(new)
    searched = variational_posterior(fit.model, fit.parameters, new)
    found = bound_of(fit.model, fit.parameters, new, q)
    assert 0 <= np.mean(searched.bound.elbo - found.elbo) < 0.1
    np.testing.assert_allclose(fit.encoder(new[3:5]).mean, q.mean[3:5], atol=1e-12)


def test_an_encoder_that_reads_the_visits_of_others_is_caught(fitted):
    """The control: with the records of other subjects, the bound falls by more than a hundred nats."""
    _, fit = fitted
    new = records_of(2, NEW)
    wrong = bound_of(fit.model, fit.parameters, new, fit.encoder(new[np.roll(np.arange(NEW), 1)]))
    right = bound_of(fit.model, fit.parameters, new, fit.encoder(new))
    assert right.elbo.sum() - wrong.elbo.sum() > 100


def test_what_no_visit_holds_is_not_read(fitted):
    records, fit = fitted
    other = dataclasses.replace(records, observation=np.where(records.present, records.observation, 1e6))
    np.testing.assert_array_equal(fit.encoder(other).mean, fit.encoder(records).mean)


def test_events_come_in_the_order_of_the_record(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text(
        "ID,TIME,AMT,EVID,CMT,DV,WT\n"
        "a,0,2,1,1,.,50\na,1,.,0,2,5,50\na,2,4,1,1,.,50\na,2,.,0,2,7,50\na,0,3,4,1,.,50\na,1,.,0,2,9,50\n"
        "b,0,1,1,1,.,70\nb,3,.,0,2,3,70\n",
        encoding="utf-8",
    )
    records = nlme.read_nonmem(table)
    scales = Scales.of(records)
    assert (scales.outputs, scales.time_h, scales.amount) == ((2,), 3.0, 4.0)
    events = scales.events(records)
    np.testing.assert_array_equal(events.there, [[True] * 6, [True] * 2 + [False] * 4])
    time_h, amount = 3 * events.features[0, :, 0], 4 * events.features[0, :, 1]
    np.testing.assert_allclose(time_h, [0, 1, 2, 2, 0, 1])
    np.testing.assert_allclose(amount, [2, 0, 4, 0, 3, 0])
    observed = events.features[0, :, -2] == 1
    seen = scales.mean[0] + scales.sd[0] * events.features[0, observed, -1]
    np.testing.assert_allclose(seen, [5, 7, 9])
    assert not events.features[1, 2:].any()
    assert list(scales.covariates) == ["WT"] and np.ptp(events.covariates[:, 0]) == pytest.approx(2)
    # Padding changes nothing.
    network = Recurrent.start(events, np.eye(2), 3, seed=1)
    network = eqx.tree_at(lambda at: at.last.weight, network, np.ones((2 + 4, 3)))
    alone = scales.events(records[np.array([1])])
    alone = alone._replace(features=alone.features[:, :2], there=alone.there[:, :2])
    np.testing.assert_allclose(network.normal(alone).mean[0], network.normal(events).mean[1], rtol=1e-12)


class Fixed(Line):
    """A line without random effects."""

    random_effects = ()

    def individual(self, theta, eta, covariates):
        return theta


def test_bad_input_is_one_line(fitted):
    records, fit = fitted
    model = Fixed()
    parameters = model.parameters([1.0, -0.5], np.zeros((0, 0)), nlme.Additive(0.4))
    with pytest.raises(UserError, match=r"^Fixed has no random effects, so there is no posterior to fit$"):
        nlme.fit_population(model, records, parameters, method="vae")
    design = nlme.Design.regular(TIMES, n_subjects=2, outputs=(3,))
    other = nlme.Records.of(design, np.zeros((2, 4)))
    with pytest.raises(UserError, match="the encoder was not trained on observations of output 3"):
        fit.encoder(other)
    scales = fit.encoder.scales._replace(covariates={"WT": (70.0, 10.0)})
    with pytest.raises(UserError, match="the encoder needs the covariate WT, which these records do not"):
        fit.encoder._replace(scales=scales)(records)
