"""Networks inside models."""

import equinox as eqx
import jax
import numpy as np
import pytest

from covary import nlme
from covary.errors import UserError
from covary.nlme.neural import weights_of, with_weights


@pytest.mark.parametrize(
    ("range", "start"), [("real", 0.0), ("real", -2.5), ("positive", 0.3), ((-1, 3), 2.0)]
)
def test_an_untrained_network_returns_its_start(range, start):
    network = nlme.MLP(3, range=range, start=start)
    assert float(network(0.3, -2.0, 1e3)) == pytest.approx(start, rel=1e-12, abs=1e-12)


def test_outputs_stay_in_their_range():
    random = np.random.default_rng(0)
    for range, low, high in (("positive", 0.0, np.inf), ((2, 5), 2.0, 5.0)):
        network = nlme.MLP(1, range=range, start=3.0)
        network = jax.tree.map(lambda w: w + random.normal(size=w.shape), network)
        values = np.array([float(network(x)) for x in (-1e2, 0.0, 1e2)])
        assert np.all((low < values) & (values < high))


def test_weights_go_in_and_out():
    model = nlme.load_model("neural_indirect_response")
    weights = weights_of(model)
    assert len(weights) == model.network.n_weights == 5 * 7 + 7 + 7 * 7 + 7 + 7 + 1 + 5
    new = np.arange(len(weights), dtype=float)
    np.testing.assert_array_equal(weights_of(with_weights(model, new)), new)
    with pytest.raises(UserError, match="has 111 weights, got 3"):
        with_weights(model, np.zeros(3))
    assert weights_of(nlme.load_model("saturable_elimination")).size == 0


def test_a_skip_tells_inputs_apart_where_units_saturate():
    plain, network = (nlme.MLP(2, start=0.5, skip=skip) for skip in (False, True))
    assert network.n_weights == plain.n_weights + 2
    assert float(network(1e3, 0.0)) == float(plain(1e3, 0.0)) == 0.5
    network = eqx.tree_at(lambda at: at.skip.weight, network, np.array([[3.0, 0.0]]))
    assert float(network(1e3 + 1, 0.0) - network(1e3, 0.0)) == pytest.approx(3.0, rel=1e-9)


@pytest.mark.parametrize("name", ["neural_indirect_response", "neural_elimination", "latent_record"])
def test_shipped_models_simulate(name):
    model = nlme.load_model(name)
    parameters = model.default_parameters()
    design = nlme.Design.regular([0.0, 1.0, 5.0], n_subjects=4, dose=1.0, outputs=tuple(model.outputs))
    simulation = nlme.simulate(model, parameters, np.zeros((4, len(model.random_effects))), design, 1)
    assert np.isfinite(simulation.observation).all()


def test_a_network_of_a_users_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        """
from covary import nlme

class Mine(nlme.OdeModel):
    fixed_effects = {"start": "positive"}
    random_effects = ("eta",)
    network: nlme.MLP = nlme.MLP(2, range="positive", start=0.5)

    def individual(self, theta, eta, covariates):
        return {"start": theta["start"], "eta": eta[0]}

    def initial_state(self, p):
        return (p["start"],)

    def vector_field(self, t, y, p):
        return (-y[0] * self.network(y[0], p["eta"]),)

    def prediction(self, t, y, p):
        return y[0]
""",
        encoding="utf-8",
    )
    model = nlme.load_model(f"{file}:Mine")
    parameters = model.parameters([2.0], 1.0, nlme.Additive(0.1))
    times = np.array([0.0, 1.0, 2.0])
    f = nlme.predictions(model, parameters, np.zeros((1, 1)), nlme.Design.regular(times, n_subjects=1))
    np.testing.assert_allclose(f[0], 2 * np.exp(-0.5 * times), rtol=1e-6)


class Wrong(nlme.NeuralElimination):
    """Gives its network too few inputs."""

    def vector_field(self, t, y, p):
        return -y[0], self.network(y[1])


def test_a_wrong_number_of_inputs_is_one_line():
    model = Wrong()
    design = nlme.Design.regular([1.0], n_subjects=1, dose=1.0)
    with pytest.raises(UserError, match=r"^the network takes 3 inputs, got 1\b"):
        nlme.predictions(model, model.default_parameters(), np.zeros((1, 3)), design)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inputs": 0}, "inputs of a network must be ≥ 1, got 0"),
        ({"inputs": 1, "width": 0}, "width of a network must be ≥ 1, got 0"),
        ({"inputs": 1, "prior_sd": 0.0}, "prior_sd of a network must be > 0, got 0"),
        (
            {"inputs": 1, "range": "positive", "start": -1.0},
            r"start of a network must lie in its range \(0, inf\)",
        ),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(UserError, match=message):
        nlme.MLP(**settings)
