"""What the tables are made of, read from a small dataset, and outcomes simulated from it."""

import numpy as np
import pytest
import xarray as xr

from covary import evaluate, rng, store
from covary.config.predictors import Predictor
from covary.config.records import Longitudinal
from covary.dataset import names
from covary.dataset.scenario import Scenario
from covary.records.study import Study
from covary.resampling import Resamples

SPLIT = np.repeat(np.arange(3, dtype=np.uint8), [8, 2, 6])
N, TEST = len(SPLIT), slice(10, 16)
OBJECTIVES = ("ebe_mse", "marginal_likelihood")


def draw(name, n=N):
    return rng.normal(1, name, 0, n, (3,)).astype(np.float32)


@pytest.fixture(scope="module")
def study():
    return Study.planned(Longitudinal(interval_h=5.0), N, 1)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory, study):
    folder = tmp_path_factory.mktemp("dataset")
    path = folder / "dataset.zarr"
    store.create(path, size_px=16, channels=["grey"], shard_subjects=16, chunk_subjects=4, attributes={})

    def write(name, subjects=None, **variables):
        attributes = {"long_name": "test", "units": "1"}
        dataset = xr.Dataset({key: (dims, value, attributes) for key, (dims, value) in variables.items()})
        if subjects is not None:
            numbers = np.arange(subjects.start, subjects.stop)
            dataset = dataset.assign_coords(subject=("subject", numbers, {"long_name": "subject"}))
        store.write_group(path, name, dataset, folder / f"{name.replace('/', '_')}.json", {})

    store.write_group(path, names.DESIGN, study.label(), folder / "design.json", {})
    effects, square = ("subject", "random_effect"), ("random_effect", "random_effect_2")
    write("subjects", eta=(effects, draw("eta")), split=(("subject",), SPLIT))
    write(names.readings("net"), TEST, eta_read=(effects, draw("read", 6)))
    for noise in ("0", "2.5"):
        scenario = Scenario(float(noise)).name
        eta_hat = draw("eta" if noise == "0" else f"hat/{noise}")
        observation = study.simulate(eta_hat, seed=1, stream=noise).astype(np.float32)
        record = {"eta_hat": (effects, eta_hat), "observation": (("subject", "time"), observation)}
        write(names.records(scenario), **record)
        write(names.estimates(scenario), eta_approx=(effects, 0.7 * eta_hat))
        for objective in OBJECTIVES:
            v = (square, 0.1 * np.eye(3, dtype=np.float32))
            name = f"{noise}/{objective}"
            group = names.predictions(scenario, f"net_{objective}")
            write(group, TEST, eta_pred=(effects, draw(name, 6)), covariance=v)
            oracle = {"eta_pred": draw(f"o/{name}", 6), names.pred_read("net"): draw(f"or/{name}", 6)}
            oracle = {key: (effects, value) for key, value in oracle.items()}
            write(names.predictions(scenario, names.oracle(objective)), TEST, **oracle, covariance=v)
    return evaluate.HeldOut(path, [Predictor(network="net", objective=o) for o in OBJECTIVES])


def test_random_effects_are_those_of_test_subjects(held_out):
    assert held_out.subjects == TEST
    level = held_out.random_effects(2.5)
    assert level.noise_variance == 2.5
    np.testing.assert_array_equal(level.eta_hat, draw("hat/2.5")[TEST])
    np.testing.assert_array_equal(level.eta_approx, 0.7 * draw("hat/2.5")[TEST])
    np.testing.assert_array_equal(level.eta_pred["net_ebe_mse"], draw("2.5/ebe_mse", 6))
    assert list(level.eta_pred) == list(level.covariance) == ["net_ebe_mse", "net_marginal_likelihood"]
    oracles = held_out.random_effects(0.0, oracles=True)
    np.testing.assert_array_equal(oracles.eta_pred["oracle_ebe_mse"], draw("o/0/ebe_mse", 6))
    assert list(oracles.eta_pred)[2:] == ["oracle_ebe_mse", "oracle_marginal_likelihood"]


def test_the_chain_goes_from_eta_to_the_predictor(held_out):
    chain = held_out.chain(0.0)
    np.testing.assert_array_equal(chain.eta, draw("eta")[TEST])
    np.testing.assert_array_equal(chain.read["net_ebe_mse"], draw("read", 6))
    for objective in OBJECTIVES:
        name = f"net_{objective}"
        np.testing.assert_array_equal(chain.estimated[name], draw(f"or/0/{objective}", 6))
        np.testing.assert_array_equal(chain.predicted[name], draw(f"0/{objective}", 6))


def test_a_learning_curve_ends_with_the_predictor_itself(held_out, tmp_path):
    smaller = np.stack([draw(f"size/{n}", 6) for n in (4, 1, 2)])
    file = tmp_path / "curve.npz"
    np.savez(file, sizes=np.array([4, 1, 2]), eta_pred=smaller, noise_variance=0.0, predictor="net_ebe_mse")
    training = held_out.training_sizes(file)
    assert training.sizes.tolist() == [1, 2, 4, 8]
    np.testing.assert_array_equal(training.eta_pred[:3], smaller[[1, 2, 0]])
    np.testing.assert_array_equal(training.eta_pred[3], draw("0/ebe_mse", 6))


def test_simulated_outcomes_belong_to_their_subject(held_out, study):
    level, observation = held_out.random_effects(0.0), held_out.observation(0.0)
    simulation = evaluate.OutcomeSimulation(study, 1, TEST.start)
    records = simulation.records(level, observation)
    np.testing.assert_array_equal(records.true, observation)
    forecasts = simulation.forecasts(level, held_out.eta, observation, draws=5)
    assert list(forecasts.scores) == ["net_ebe_mse", "net_marginal_likelihood", "ideal", "no_image"]
    # The last two subjects alone draw the same.
    rest = evaluate.RandomEffects(
        0.0,
        level.names,
        level.eta_hat[4:],
        level.eta_approx[4:],
        {name: value[4:] for name, value in level.eta_pred.items()},
        level.covariance,
    )
    later = evaluate.OutcomeSimulation(study, 1, TEST.start + 4)
    np.testing.assert_allclose(later.records(rest, observation[4:]).random, records.random[4:], atol=1e-9)
    alone = later.forecasts(rest, held_out.eta[4:], observation[4:], draws=5).scores
    for name, scores in alone.items():
        np.testing.assert_allclose(scores, forecasts.scores[name][4:], atol=1e-9)
    # Without noise the ideal forecaster knows all but the residual error.
    table = evaluate.outcome_table([forecasts], Resamples(6, seed=1, resamples=20))
    assert table.set_index("predictor").loc["ideal", "crps"] < 2 * 0.01
