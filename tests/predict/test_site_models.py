"""Networks with site effects: the mathematics, and what they find in simulated tables."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch.distributions import Normal as TorchNormal
from torch.distributions import kl_divergence

from covary import rng
from covary.config.predictors import Predictor
from covary.config.site_methods import METHODS, SiteMethod
from covary.errors import UserError
from covary.predict.adversary import Adversary, observe
from covary.predict.armed import Normal, SiteNetwork
from covary.predict.evidence import Targets
from covary.predict.lmmnn import LmmnnEffects
from covary.predict.network import PredictorNetwork
from covary.predict.objectives.likelihoods import NormalLikelihood
from covary.predict.site_training import SiteExamples, predict_with_sites, train_with_sites
from covary.predict.tables import SiteModel
from covary.training.checkpoint import Checkpoint
from covary.training.draws import seeded


def table(subjects: int, sites: int, between_sd: float):
    """Two features, a curved target, and an intercept of each site that no feature knows of."""
    x = rng.normal(1, "x", 0, subjects * sites, (3,))
    site = np.repeat(np.arange(sites), subjects)
    b = between_sd * rng.normal(1, "b", 0, sites, ())
    y = np.sin(x[:, 0]) + 0.5 * x[:, 1] + b[site] + 0.5 * rng.normal(1, "e", 0, len(x), ())
    return x, y, site, b


def test_divergence_has_the_best_prior_scale():
    with seeded(1, "posterior"):
        posterior = Normal(5, 3, 2, first=0.4)
    q = TorchNormal(posterior.m, posterior.s())

    def divergence(scale):
        return kl_divergence(q, TorchNormal(0.0, scale.sqrt())).sum().item()

    best = posterior.prior_variance().detach()
    assert posterior.divergence().item() == pytest.approx(divergence(best), rel=1e-5)
    assert all(divergence(best * factor) > divergence(best) for factor in (0.8, 1.25))


def test_an_adversary_cannot_be_misled_below_chance():
    adversary = Adversary(4, [8], sites=3)
    site = torch.tensor([0, 1, 2])
    torch.nn.init.zeros_(adversary.layers[-1].weight)
    adversary.layers[-1].bias.data = torch.tensor([9.0, 0.0, 0.0])
    hidden = torch.ones(3, 4, requires_grad=True)
    assert adversary.cross_entropy(hidden, site) > math.log(3)
    withheld = adversary.withheld(hidden, site)
    assert withheld.item() == pytest.approx(math.log(3))
    withheld.backward()
    assert not hidden.grad.any()  # no reward


@pytest.mark.parametrize(("network", "shape"), [("resnet18", (2, 1, 32, 32)), ("perceptron", (2, 5))])
def test_last_hidden_layer_is_what_the_last_layer_sees(network, shape):
    predictor = PredictorNetwork(network, 3, shape[-1], 4).eval()
    output, h, hidden = observe(predictor, torch.ones(shape))
    last = [module for module in predictor.modules() if isinstance(module, torch.nn.Linear)][-1]
    torch.testing.assert_close(last(h), output)
    torch.testing.assert_close(hidden[:, -h.shape[1] :], h)  # the last of all hidden layers
    assert hidden.shape[1] > h.shape[1]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in predictor.modules())


def test_probabilities_of_sites_average_the_random_effects():
    network = SiteNetwork("perceptron", 2, 3, 4, 1, sites=3, effects="variational").eval()
    x, eye = torch.randn(1, 3), torch.eye(3)
    at_each = torch.cat([network(x, eye[i : i + 1]).mixed for i in range(3)])
    shares = torch.tensor([[0.2, 0.3, 0.5]])
    torch.testing.assert_close(network(x, shares).mixed, shares @ at_each)
    torch.testing.assert_close(network(x).mixed, network(x).fixed)
    intercepts = network.effects.intercepts.m[:, 0]
    network.effects.centre.copy_(observe(network.network, x)[1][0])  # the mean subject
    torch.testing.assert_close(network(x, eye[1:2]).mixed - network(x).fixed, intercepts[1:2])


def test_lmmnn_is_the_likelihood_of_a_linear_mixed_model():
    effects = LmmnnEffects(4, 1).double()
    effects.log_residual.data.fill_(math.log(0.7))
    effects.log_between.data.fill_(math.log(1.3))
    site = torch.tensor([0, 2, 2, 0, 1, 2])  # site 3 is not in this batch
    r = torch.tensor([0.3, -1.0, 0.4, 2.0, 0.1, 1.5], dtype=torch.float64)[:, None]
    z = np.eye(4)[site.numpy()]
    v = 1.3 * z @ z.T + 0.7 * np.eye(6)
    dense = -multivariate_normal(np.zeros(6), v).logpdf(r[:, 0]) - 3 * math.log(2 * math.pi)
    assert effects.loss(r, site).item() == pytest.approx(dense / 6)
    effects.predict_intercepts(r, site)
    np.testing.assert_allclose(effects.intercept, 1.3 * z.T @ np.linalg.solve(v, r.numpy()))
    variance = 1.3 * np.eye(4) - 1.3**2 * z.T @ np.linalg.solve(v, z)
    np.testing.assert_allclose(effects.intercept_variance[:, 0], np.diag(variance))


@pytest.mark.parametrize("method", ["armed", "lmmnn", "monte_carlo_em"])
def test_intercepts_and_their_variance_are_found(method):
    x, y, site, b = table(60, 8, between_sd=1.0)
    model = SiteModel(method, seed=1, width=8, epochs=25, batch_size=32, learning_rate=0.01).fit(x, y, site)
    found, true = model.intercepts(), b - b.mean()
    deviations = found.mean[:, 0] - found.mean[:, 0].mean()
    assert np.corrcoef(deviations, true)[0, 1] > 0.95
    assert found.variance[0] == pytest.approx(true.var(ddof=1), rel=0.35)
    errors = {"fixed": y - model.predict_fixed(x), "mixed": y - model.predict_mixed(x, site)}
    assert errors["mixed"].var() < 0.35 < 0.6 < errors["fixed"].var()
    effects = model.site_effects()
    assert list(effects.columns) == ["site", "output", "effect", "sd"] and (effects["sd"] > 0).all()


def test_without_differences_between_sites_no_method_invents_any():
    x, y, site, _ = table(60, 8, between_sd=0.0)
    model = SiteModel("armed", seed=1, width=8, epochs=20, batch_size=32, learning_rate=0.01).fit(x, y, site)
    assert model.intercepts().variance[0] < 0.05


def test_classes_have_probabilities():
    x, y, site, _ = table(30, 4, between_sd=0.5)
    label = np.array(["low", "middle", "high"])[np.digitize(y, [-0.5, 0.5])]
    model = SiteModel(
        "armed_without_adversary", "classification", seed=1, width=8, epochs=15, learning_rate=0.01
    )
    model.fit(x, label, site)
    share = model.predict_mixed(x, site)
    np.testing.assert_allclose(share.sum(axis=1), 1, rtol=1e-5)
    assert (np.asarray(model.classes)[share.argmax(axis=1)] == label).mean() > 0.5
    np.testing.assert_allclose(model.site_probabilities(x).sum(axis=1), 1, rtol=1e-5)
    with pytest.raises(UserError, match=r"9 was not in training; leave `site` out"):
        model.predict_mixed(x[:1], [9])


@pytest.mark.parametrize("method", ["armed", "monte_carlo_em"])
def test_a_killed_training_ends_with_the_same_weights(tmp_path, monkeypatch, method):
    x, y, site, _ = table(12, 3, between_sd=1.0)

    def fit(folder):
        return SiteModel(method, seed=1, width=4, epochs=4, batch_size=9).fit(x, y, site, folder)

    whole = fit(tmp_path / "whole")
    write = Checkpoint.write

    def killed(self, completed, history):
        write(self, completed, history)
        if completed == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "parts")
    monkeypatch.setattr(Checkpoint, "write", write)
    again = fit(tmp_path / "parts")
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], value, rtol=0, atol=0)


def test_a_network_is_saved_and_loaded(tmp_path):
    network = SiteNetwork("perceptron", 2, 3, 4, 1, sites=3, effects="variational").eval()
    network.save(tmp_path)
    x, site = torch.randn(4, 3), torch.eye(3)[[0, 1, 2, 0]]
    torch.testing.assert_close(SiteNetwork.load(tmp_path)(x, site).mixed, network(x, site).mixed)


def test_the_site_may_be_an_input_of_images():
    network = SiteNetwork("resnet18", 2, 32, 4, 1, sites=3, effects="input").eval()
    x = torch.rand(2, 1, 32, 32)
    found = [network(x, torch.eye(3)[[i, i]]).mixed for i in range(3)]
    assert not torch.allclose(found[0], found[1])
    equal = network(x, torch.full((2, 3), 1 / 3)).mixed
    torch.testing.assert_close(network(x).fixed, equal)


def test_the_best_epoch_on_validation_subjects_is_kept(tmp_path):
    x, y, site, _ = table(20, 3, between_sd=1.0)
    x, y, odd = x.astype(np.float32), y[:, None].astype(np.float32), np.arange(60) % 2 == 1
    config = Predictor(
        network="perceptron", width=4, epochs=4, patience_epochs=4, batch_size=10, ema_decay=0.5
    )
    network, history = train_with_sites(
        *(SiteExamples(x[part], Targets(y[part]), site[part]) for part in (~odd, odd)),
        lambda: NormalLikelihood(1), config, SiteMethod.model_validate("armed"), 3, 1, tmp_path,
    )  # fmt: skip
    _, mixed = predict_with_sites(network, x[odd], np.eye(3)[site[odd]])
    loss = 0.5 * (1 + np.log(np.square(y[odd] - mixed).mean()))
    assert loss == pytest.approx(history["validation_loss"].min(), rel=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_names_of_methods(name):
    method = SiteMethod.model_validate(name)
    assert (method.corrector, method.effects) == METHODS[name]
    assert SiteMethod.model_validate(method.model_dump()) == method


@pytest.mark.parametrize(
    ("site", "message"),
    [
        (
            ["a", None, "b", "b"],
            "must have a value for every subject; 1 of 4 have none, the first is number 1",
        ),
        ([1.0, 2.0, float("nan"), 2.0], "1 of 4 have none, the first is number 2"),
        (["a", "a", 3, "b"], "must be all text or all numbers; subject 0 has 'a', subject 2 has 3"),
        (["a"] * 4, "must name at least 2 sites, got 1"),
        (["a", "b", "c", "d"], "must have fewer sites than subjects, got 4 sites of 4 subjects"),
    ],
)
def test_bad_sites(site, message):
    with pytest.raises(UserError, match=message):
        SiteModel("plain", seed=1).fit(np.zeros((4, 2)), np.zeros(4), site)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("armd",), "must be one of plain, site_input, .*, got 'armd'"),
        (("lmmnn", "classification"), "lmmnn is for regression"),
        (("monte_carlo_em", "classification"), "monte_carlo_em is for regression"),
        (("plain", "ranking"), "task must be regression or classification, got 'ranking'"),
    ],
)
def test_bad_methods(arguments, message):
    with pytest.raises(ValueError, match=message):
        SiteModel(*arguments, seed=1)


def test_adversary_weight_of_a_method_without_adversary():
    with pytest.raises(ValueError, match="has no effect with corrector none; remove it"):
        SiteMethod(effects="variational", adversary_weight=1.0)
