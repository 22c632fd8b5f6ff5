"""Association under another model of the estimator, where what can be found is known."""

import json

import numpy as np
import pytest

from covary import figures, nlme, rng
from covary.config.ladder import Rung
from covary.config.reading import ConfigError, check
from covary.evaluate.estimators import Estimator, Fitted, Truth, association_table
from covary.nlme.neural import weights_of
from covary.report.ladder import association_in_words

N, NEW, NOISE = 4000, 3000, 1.0


@pytest.fixture(scope="module")
def table():
    """Estimators whose effects are turned, are one of two, and are curved; each reads images perfectly."""
    eta = rng.normal(1, "eta", 0, N + NEW, (2,))
    eta_hat = (eta + np.sqrt(NOISE) * rng.normal(1, "r", 0, N + NEW, (2,))) / np.sqrt(1 + NOISE)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    outcome = eta_hat @ [[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]
    shrunken = eta / np.sqrt(1 + NOISE)
    truth = Truth(eta[:N], eta_hat[:N], eta[N:], eta_hat[N:], outcome[N:])

    def estimator(estimate, predicted, share):
        return Estimator(estimate[:N], estimate[N:], predicted[N:], share * outcome[N:])

    return association_table(
        {
            "true": estimator(eta_hat, shrunken, 1.0),
            "turned": estimator(3 * eta_hat @ turn + 1, 3 * shrunken @ turn + 1, 1.0),
            "one_effect": estimator(eta_hat[:, :1], shrunken[:, :1], 0.5),
        },
        truth, seed=1, resamples=200,
    )  # fmt: skip


def test_another_basis_of_the_random_effects_costs_nothing(table):
    values = table.set_index(["model", "measure"])["r2"].unstack()
    np.testing.assert_allclose(values.loc["turned"], values.loc["true"], atol=1e-9)
    assert values.loc["true", "record"] == pytest.approx(1.0)
    assert values.loc["true", "found"] == pytest.approx(1 / (1 + NOISE), abs=0.04)
    assert values.loc["true", "carried"] == pytest.approx(1 / (1 + NOISE), abs=0.04)


def test_a_model_with_one_of_two_effects_finds_half_and_the_interval_says_so(table):
    lost = table[table["model"] == "one_effect"].set_index("measure")
    assert lost.loc["record", "r2"] == pytest.approx(0.5, abs=0.03)
    assert lost.loc["found", "r2"] == pytest.approx(0.25, abs=0.03)
    assert lost.loc["outcome", "r2"] == pytest.approx(0.75, abs=0.01)
    assert (lost["gain_high"] < 0).all()
    assert (table["low"] <= table["r2"] + 1e-12).all() and (table["r2"] <= table["high"] + 1e-12).all()


def test_words_and_figure_say_which_model_costs_association(table):
    words = association_in_words(table.assign(explainable=0.5))
    nothing = association_in_words(table.assign(explainable=0.5, low=-0.01))
    assert "finds of it is nothing that can be told from chance under true" in nothing
    assert words.startswith("Images can explain 50\u00a0% of the random effects")
    assert "turned cannot be told from it and one effect costs (R² lower by 0.2" in words
    figure = figures.deep_association(table.assign(explainable=0.5))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["true", "turned", "one effect"]


def test_a_fit_is_read_with_its_weights(tmp_path):
    nlme.configure()
    rung = Rung(name="deep", model="neural_elimination", random_effects=1)
    model = nlme.load_model("neural_elimination", 1)
    weights = np.arange(weights_of(model).size) / 10
    parameters = nlme.parameters_to_json(model.default_parameters())
    file = tmp_path / "fit.json"
    file.write_text(json.dumps({"parameters": json.loads(parameters), "weights": weights.tolist()}))
    found = Fitted.read(rung, file)
    np.testing.assert_array_equal(weights_of(found.model), weights)
    np.testing.assert_array_equal(found.sd, np.ones(2))


def test_estimators_without_a_predictor_of_estimates_are_one_clear_line():
    with pytest.raises(ConfigError, match=r"ladder\.estimators: predictors must have one with objective"):
        check(
            {
                "ladder": {"models": [{"name": "a", "model": "latent_record"}], "estimators": ["a"]},
                "predictors": [{"objective": "marginal_likelihood"}],
            }
        )
