"""Posterior networks: densities, encodings, training that goes on after a kill, exact weights."""

import dataclasses

import numpy as np
import pytest
from designs import ORAL_TIMES_H
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import ndtr

from covary import nlme, rng
from covary.amortised.chain import metropolis
from covary.amortised.encoding import Encoder
from covary.amortised.exact import Source, exact_draws, weighted_draws
from covary.amortised.problem import (
    EngineSimulator,
    FunctionSimulator,
    simulated,
    uniform_number_missing,
)
from covary.amortised.store import load, save
from covary.amortised.train import Training, train
from covary.amortised.weights import sample_size, smoothed
from covary.config.reading import check
from covary.config.visits import CompletelyAtRandom
from covary.errors import UserError
from covary.nlme.shift import with_mean

# One training is one compiled program of each shape: that of the line serves `test_not_at_random`, too.
SMALL = Training(layers=2, width=16, batch=256, steps=40, rounds=8)
SIDE = 161  # of a grid; as many points and draws mean the same programs, and compiling them takes longest


def line(present=None, sd=0.5):
    """y = φ₁ + φ₂ t + ε, whose posterior is normal."""
    times_h = np.array([0.0, 1.0, 2.0])
    return FunctionSimulator(times_h, 2, lambda phi: phi[:, :1] + phi[:, 1:] * times_h, sd, present)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    nlme.configure()
    return train(line(uniform_number_missing(2)), SMALL, seed=1, folder=tmp_path_factory.mktemp("line"))


def test_the_density_integrates_to_one_and_is_that_of_the_draws(trained):
    network, history = trained
    y = np.array([[0.5, np.nan, -1.0]])
    axis = np.linspace(-8, 8, SIDE)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    density = np.exp(network.log_density(grid, np.repeat(y, len(grid), axis=0)))
    assert density.sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1.0, abs=2e-3)
    phi, log_q = network.sample(y, SIDE**2, seed=1, stream="s")
    alone = network.log_density(phi[0], np.repeat(y, SIDE**2, axis=0))
    np.testing.assert_allclose(alone, log_q[0], atol=2e-4)
    assert history["validation_loss"].iloc[-1] < history["validation_loss"].iloc[0]


def test_a_network_that_is_stored_comes_back(trained, tmp_path):
    network, _ = trained
    save(tmp_path / "network.npz", network, SMALL, np.diag([1.0, 2.0]))
    found, factor = load(tmp_path / "network.npz")
    phi, y = simulated(line(), 0, 6, seed=2, stream="t")
    np.testing.assert_array_equal(found.log_density(phi, y), network.log_density(phi, y))
    np.testing.assert_array_equal(factor, np.diag([1.0, 2.0]))
    np.testing.assert_array_equal(found.unfamiliar(y), network.unfamiliar(y))
    (tmp_path / "other.npz").write_bytes(b"text")
    with pytest.raises(UserError, match=r"other\.npz: not a posterior network"):
        load(tmp_path / "other.npz")


@pytest.mark.slow
def test_a_network_of_three_parameters_that_is_stored_keeps_the_order_in_which_its_flow_takes_them(tmp_path):
    times_h = np.array([0.0, 1.0, 2.0])
    simulator = FunctionSimulator(times_h, 3, lambda phi: phi * (1 + times_h), 0.5)
    network, _ = train(simulator, dataclasses.replace(SMALL, steps=2, rounds=1), seed=1, folder=tmp_path)
    save(tmp_path / "network.npz", network, SMALL, np.eye(3))
    phi, y = simulated(simulator, 0, 6, seed=2, stream="t")
    found, _ = load(tmp_path / "network.npz")
    np.testing.assert_array_equal(found.log_density(phi, y), network.log_density(phi, y))


@pytest.mark.slow
def test_residual_blocks_learn_a_frequency_better_than_dense_layers_and_are_stored(tmp_path):
    times_h = np.linspace(0, 10, 41)
    wave = FunctionSimulator(
        times_h,
        2,
        lambda phi: np.sin(2 * np.pi * (0.1 + 0.9 * ndtr(phi[:, :1])) * times_h) + phi[:, 1:],
        0.05,
    )
    dense = dataclasses.replace(SMALL, width=32, steps=100, rounds=10)
    residual = dataclasses.replace(dense, summary="residual")
    loss = {}
    for settings in (dense, residual):
        network, history = train(wave, settings, seed=1, folder=tmp_path / settings.summary)
        loss[settings.summary] = history["validation_loss"].min()
    assert loss["residual"] < loss["dense"] - 0.3, loss
    save(tmp_path / "network.npz", network, residual, np.eye(2))
    phi, y = simulated(wave, 0, 6, seed=2, stream="t")
    np.testing.assert_array_equal(
        load(tmp_path / "network.npz")[0].log_density(phi, y), network.log_density(phi, y)
    )


def test_records_unlike_those_of_the_training_are_noticed(trained):
    network, _ = trained
    _, y = simulated(line(uniform_number_missing(2)), 0, 400, seed=2, stream="t")
    assert network.unfamiliar(y).mean() < 0.02
    assert network.unfamiliar(np.array([[60.0, -60.0, 60.0]])).all()


def test_a_share_of_draws_from_a_wider_distribution_has_the_density_of_the_mixture(trained):
    network, _ = trained
    y = np.array([[0.5, np.nan, -1.0]])
    phi, log_q = network.sample(y, SIDE**2, seed=1, stream="s", wide=0.2)
    alone = network.log_density(phi[0], np.repeat(y, SIDE**2, axis=0))
    # Under a density that is right, its ratio to q averages to 1 over draws of the mixture.
    assert np.exp(alone - log_q[0]).mean() == pytest.approx(1.0, abs=0.02)
    wide = round(0.2 * SIDE**2)
    assert phi[0, :wide].std() > 1.5 * phi[0, wide:].std()


def test_chains_reach_the_target_from_draws_of_another_distribution():
    def target(eta):
        return -0.5 * np.sum((eta - 1.0) ** 2 / 0.25, axis=2)

    start = rng.normal(1, "start", 0, 3, (800, 2))
    numbers = np.array([4, 7, 9])
    eta = metropolis(target, start, seed=1, stream="c", numbers=numbers)
    np.testing.assert_allclose(eta.mean(axis=1), 1.0, atol=0.1)
    np.testing.assert_allclose(eta.std(axis=1), 0.5, atol=0.06)
    part = metropolis(target, start[1:], seed=1, stream="c", numbers=numbers[1:])
    np.testing.assert_array_equal(part, eta[1:])


def test_draws_belong_to_their_subject_and_not_to_their_batch(trained):
    network, _ = trained
    _, y = simulated(line(), 0, 6, seed=2, stream="t")
    phi, log_q = network.sample(y, 4, seed=1, stream="s", start=10)
    later = network.sample(y[3:], 4, seed=1, stream="s", start=13)
    np.testing.assert_allclose(later[0], phi[3:], atol=1e-5)
    np.testing.assert_allclose(later[1], log_q[3:], atol=1e-4)


def test_a_training_that_was_killed_ends_with_the_weights_of_one_that_was_not(trained, tmp_path):
    class Killed(Exception):
        pass

    class Mortal(FunctionSimulator):
        calls = 0

        def simulate(self, phi, **key):
            self.calls += 1
            if self.calls == 5:  # scaling, validation and two rounds come first
                raise Killed
            return super().simulate(phi, **key)

    whole = line(uniform_number_missing(2))
    mortal = Mortal(whole.times_h, 2, whole.mean, whole.sd, uniform_number_missing(2))
    with pytest.raises(Killed):
        train(mortal, SMALL, seed=1, folder=tmp_path)
    resumed, history = train(whole, SMALL, seed=1, folder=tmp_path)
    network, expected = trained
    assert history.equals(expected)
    phi, y = simulated(whole, 0, 20, seed=3, stream="t")
    np.testing.assert_array_equal(resumed.log_density(phi, y), network.log_density(phi, y))
    # Another simulator's checkpoint is not taken up.
    _, afresh = train(whole, SMALL, seed=1, folder=tmp_path, identity="other")
    assert len(afresh) == SMALL.rounds


def test_weighted_draws_are_those_of_the_exact_posterior_whatever_the_network_has_learned(tmp_path):
    nlme.configure()
    model = nlme.OneCompartmentOral()
    truth = model.default_parameters()
    design = nlme.Design.regular(ORAL_TIMES_H, n_subjects=1, dose=300.0)
    missing = [CompletelyAtRandom(mechanism="completely_at_random", fraction=0.3)]
    simulator = EngineSimulator(model, truth, design, missing, width=1.5)
    network, _ = train(simulator, SMALL, seed=1, folder=tmp_path)
    n = 21  # so few that their programs serve each part of them, too
    _, y = simulated(EngineSimulator(model, truth, design, missing), 0, n, seed=4, stream="test")
    records = nlme.Records.of(design.rows(np.zeros(n, dtype=int)), y, missing_as_nan=True)
    modes = nlme.empirical_bayes(model, truth, records)
    engine = nlme.posterior_draws(model, truth, records, modes, 1000, 1)
    found = weighted_draws(network, simulator.factor, model, truth, records, 2000, seed=2, stream="d")
    size = sample_size(found.weight)
    good = (found.pareto_k < 0.7) & (size > 200)
    assert good.mean() > 0.5
    mean = np.einsum("sd,sdk->sk", found.weight, found.eta)
    error = (mean - engine.eta.mean(axis=1)) / engine.eta.std(axis=1)
    tolerance = 5 * np.sqrt(1 / size + 1 / 1000)[:, None]
    assert (np.abs(error) < tolerance)[good].all()
    np.testing.assert_allclose(found.log_marginal[good], engine.log_marginal[good], atol=0.3)
    # Under other fixed effects, draws are moved by what makes up for them.
    shift = np.array([0.4, -0.4, 0.4])
    moved = with_mean(model, truth, shift, {})
    followed, left = (
        weighted_draws(network, simulator.factor, model, moved, records, 2000, seed=2, stream="d", mean=by)
        for by in (shift, None)
    )
    np.testing.assert_allclose(followed.eta, found.eta - shift, atol=1e-6)
    assert sample_size(followed.weight).mean() > 1.5 * sample_size(left.weight).mean()
    # What the network cannot do, the engine does.
    exact = exact_draws(network, simulator.factor, model, truth, records, 500, 3)  # of 2000 draws as above
    part = exact_draws(
        network, simulator.factor, model, truth, records[np.arange(8, n)], 500, 3, first_subject=8
    )
    np.testing.assert_allclose(part.draws.eta, exact.draws.eta[8:], atol=1e-5)  # the network rounds by batch
    assert exact.draws.eta.shape == (n, 500, 3) and np.isfinite(exact.draws.eta).all()
    assert set(np.unique(exact.source)) <= {Source.NETWORK, Source.ENGINE, Source.CHAIN}
    centred = (exact.draws.eta.mean(axis=1) - engine.eta.mean(axis=1)) / engine.eta.std(axis=1)
    assert np.abs(centred.mean(axis=0)).max() < 0.3


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_the_tail_of_pareto_weights_has_its_shape(shape):
    # If u is exponential, exp(shape · u) has a Pareto tail of that shape.
    u = -np.log(rng.uniform(1, f"u/{shape}", 0, 40, (2000,)))
    weight, k = smoothed(shape * u)
    assert np.mean(k) == pytest.approx(shape, abs=0.08)
    np.testing.assert_allclose(weight.sum(axis=1), 1.0)


def test_equal_weights_stay_equal_and_weights_of_zero_are_named_unreliable():
    weight, k = smoothed(np.array([np.zeros(200), np.full(200, -np.inf)]))
    np.testing.assert_allclose(weight[0], 1 / 200)
    assert k[0] == 0.0 and np.isinf(k[1])
    np.testing.assert_allclose(sample_size(weight), [200.0, 0.0])


@given(hnp.arrays(bool, (5, 3)))
def test_encodings_tell_missing_visits(present):
    y = np.where(present, np.arange(15.0).reshape(5, 3), np.nan)
    times = np.array([1.0, 2.0, 4.0])
    for name in ("augment", "insert", "time_labels"):
        features, rows = Encoder(name, tuple(times), 1.0, 2.0, -9.0)(y)
        value = np.where(present, (np.nan_to_num(y) - 1.0) / 2.0, -9.0 if name == "insert" else 0.0)
        np.testing.assert_allclose(features[..., 0], value)
        if name == "augment":
            np.testing.assert_array_equal(features[..., 1], present)
        if name == "time_labels":
            np.testing.assert_array_equal(rows, present)
            np.testing.assert_allclose(features[..., 1], np.where(present, times / 4.0, 0.0))
        else:
            assert rows.all()


@given(st.integers(0, 3))
def test_at_most_so_many_visits_are_missing(most):
    u = rng.uniform(most, "u", 0, 200, (5,))
    missing = ~uniform_number_missing(most)(np.zeros((200, 2)), u)
    assert set(missing.sum(axis=1)) == set(range(most + 1))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (np.zeros((4, 2)), r"must return shape \(4, 3\)"),
        (np.full((4, 3), np.inf), "got inf"),
        (np.full((4, 3), np.nan), "NaN at every visit of 4 subjects"),
    ],
)
def test_a_simulator_that_makes_no_sense_is_named(returned, message):
    class Broken(FunctionSimulator):
        def simulate(self, phi, **key):
            return returned

    with pytest.raises(UserError, match=f"Broken.*{message}"):
        simulated(Broken(np.arange(3.0), 2, lambda phi: phi, 1.0), 0, 4, seed=1, stream="s")


def test_a_prior_without_width_is_named_in_the_configuration():
    network = {"prior_width": 0}
    with pytest.raises(UserError, match=r"posterior\.network\.prior_width: must be > 0, got 0"):
        check({"experiment": "x", "posterior": {"source": "amortised", "network": network}})


def test_a_summary_that_would_not_be_used_is_named():
    network = {"encoding": "time_labels", "summary": "residual"}
    with pytest.raises(
        UserError, match=r"posterior\.network\.summary: has no effect with encoding time_labels"
    ):
        check({"experiment": "x", "posterior": {"source": "amortised", "network": network}})


def test_a_population_fit_by_a_network_needs_posteriors_of_a_network():
    with pytest.raises(
        UserError, match=r"posterior\.source must be `amortised` when longitudinal\.fit\.method"
    ):
        check({"experiment": "x", "longitudinal": {"fit": {"method": "amortised"}}})


def test_a_prior_without_width_is_named():
    model = nlme.OneCompartmentOral()
    design = nlme.Design.regular(ORAL_TIMES_H, n_subjects=1, dose=300.0)
    with pytest.raises(UserError, match="must have a width > 0, got 0"):
        EngineSimulator(model, model.default_parameters(), design, width=0.0)
