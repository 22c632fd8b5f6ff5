"""ComBat: the arithmetic against closed forms, and what its three forms use of the targets."""

import numpy as np
import pytest

from covary import rng
from covary.config.site_methods import SiteTraining, TrainedMethod
from covary.errors import UserError
from covary.predict.combat import Combat, harmonised, posterior_means
from covary.predict.evidence import Targets
from covary.predict.fit import Level
from covary.predict.sites import train_method
from covary.predict.tables import SiteModel

FORMS = ("combat", "combat_target", "combat_leak_free")


def noise(name, n, features):
    return rng.normal(1, name, 0, n, (features,))


def fitted(y, site, target=None, form="combat"):
    return Combat.fit(form, y, site, np.zeros((len(y), 1)) if target is None else target)


def of_sites(values, site, statistic):
    return np.array([statistic(values[site == name], axis=0) for name in np.unique(site)])


def test_with_much_data_the_estimates_are_the_truth():
    alpha, sigma = 2.0, 3.0
    gamma, delta2 = np.array([-0.5, 0.2, 0.3]), np.array([0.5, 1.0, 1.5])  # Σ n γ = 0 and Σ n δ² = N
    site = np.arange(150_000) % 3
    y = alpha + sigma * (gamma[site, None] + np.sqrt(delta2)[site, None] * noise("e", len(site), 1))
    combat = fitted(y, site)
    assert combat.alpha[0] == pytest.approx(alpha, abs=0.03)
    assert combat.sigma[0] == pytest.approx(sigma, rel=0.01)
    found = np.array([combat.sites[i] for i in range(3)])[..., 0]
    np.testing.assert_allclose(found[:, 0], gamma, atol=0.02)
    np.testing.assert_allclose(found[:, 1] ** 2, delta2, rtol=0.03)


def test_means_and_variances_of_sites_become_equal():
    site = np.arange(60) % 4
    one = 5 + site[:, None] + (1 + site[:, None]) * noise("e", 60, 1)
    adjusted = harmonised(fitted(one, site), one, site)  # a single feature is not shrunk, so this is exact
    np.testing.assert_allclose(of_sites(adjusted, site, np.mean), one.mean(), rtol=1e-9)
    within = np.square(one - of_sites(one, site, np.mean)[site]).mean()
    np.testing.assert_allclose(of_sites(adjusted, site, np.var), within, rtol=1e-9)
    site = np.arange(20_000) % 4
    many = noise("g", 4, 6)[site] + np.exp(0.3 * noise("d", 4, 6))[site] * noise("e", 20_000, 6)
    adjusted = harmonised(fitted(many, site), many, site)
    for statistic, before in ((np.mean, 0.5), (np.var, 0.2)):
        assert np.ptp(of_sites(many, site, statistic), axis=0).max() > before
        assert np.ptp(of_sites(adjusted, site, statistic), axis=0).max() < 0.02


def test_posterior_means_solve_the_equations_of_the_paper_and_lie_between_estimate_and_prior():
    n, gamma_hat, delta2_hat = 8, noise("g", 12, 1)[:, 0], np.exp(0.5 * noise("d", 12, 1)[:, 0])
    gamma, delta2 = posterior_means(gamma_hat, delta2_hat, n)
    tau2, v, s2 = gamma_hat.var(ddof=1), delta2_hat.mean(), delta2_hat.var(ddof=1)
    lam, theta = (v**2 + 2 * s2) / s2, (v**3 + v * s2) / s2
    squares = n * delta2_hat + n * (gamma_hat - gamma) ** 2
    np.testing.assert_allclose(
        gamma, (n * tau2 * gamma_hat + delta2 * gamma_hat.mean()) / (n * tau2 + delta2)
    )
    np.testing.assert_allclose(delta2, (theta + squares / 2) / (n / 2 + lam - 1), rtol=1e-6)
    prior = gamma_hat.mean()
    assert ((gamma - prior) * (gamma_hat - gamma) > 0).all()
    for few, many in (((4,), (400,)),):
        near = np.abs(posterior_means(gamma_hat, delta2_hat, *many)[0] - gamma_hat)
        assert (near < np.abs(posterior_means(gamma_hat, delta2_hat, *few)[0] - gamma_hat)).all()


def test_a_single_site_is_left_as_it_is():
    y = 3 + noise("e", 30, 4) * np.arange(1, 5)
    np.testing.assert_allclose(harmonised(fitted(y, np.zeros(30)), y, np.zeros(30)), y, rtol=1e-9)


def confounded(n=4000):
    """The target is larger at the second site; three features show it, and the site's own location."""
    site = np.arange(n) % 2
    target = 1.5 * site[:, None] + noise("t", n, 1)
    return 2 * target + 4 * site[:, None] + noise("e", n, 3), site, target


def test_with_the_target_its_effect_stays_and_plain_combat_removes_part_of_it():
    y, site, target = confounded()
    of_target = 2 * np.diff(of_sites(target, site, np.mean), axis=0)

    def between(form):
        return np.diff(
            of_sites(harmonised(fitted(y, site, target, form), y, site, target), site, np.mean), axis=0
        )

    np.testing.assert_allclose(between("combat_target"), np.broadcast_to(of_target, (1, 3)), atol=0.15)
    assert np.abs(between("combat")).max() < 0.1 < 2.5 < of_target
    np.testing.assert_allclose(between("combat_leak_free"), np.broadcast_to(of_target, (1, 3)), rtol=0.1)


def test_a_new_site_is_harmonised_by_its_own_features():
    y, site, target = confounded()
    combat = fitted(y, site, target)
    new = 10 + 3 * noise("new", 2000, 3)
    adjusted = harmonised(combat, new, ["new"] * len(new))
    np.testing.assert_allclose(adjusted.mean(axis=0), combat.alpha, atol=0.05)
    np.testing.assert_allclose(adjusted.std(axis=0), combat.sigma, rtol=0.02)
    np.testing.assert_array_equal(adjusted, harmonised(combat, new))  # without labels: one new site
    mixed = harmonised(combat, np.concatenate([y, new]), np.concatenate([site, np.full(len(new), 7)]))
    np.testing.assert_array_equal(mixed[: len(y)], harmonised(combat, y, site))  # known sites do not change


@pytest.mark.parametrize("form", FORMS)
def test_only_the_form_with_the_target_uses_that_of_test_subjects(form):
    y, site, target = confounded(120)
    model = SiteModel(form, seed=1, width=4, epochs=2).fit(y[:80], target[:80], site[:80])
    test = y[80:], site[80:]
    first, second = (model.predict_fixed(*test, values[80:]).tobytes() for values in (target, -target))
    if form == "combat_target":
        assert first != second
        with pytest.raises(UserError, match="combat_target needs the target of every subject"):
            model.predict_mixed(*test)
    else:
        assert first == second == model.predict_fixed(*test).tobytes()


def test_sensitivity_counts_the_scale_of_the_site():
    y, site, target = confounded(200)
    y[site == 1] *= 3
    model = SiteModel("combat_leak_free", seed=1, width=4, epochs=4).fit(y, target[:, 0], site)

    def moved(step):
        return model.predict_fixed(y + step, site).astype(np.float64)

    change = [np.abs(moved(step) - moved(-step)).mean() / 0.02 for step in 0.01 * np.eye(3)]
    np.testing.assert_allclose(model.sensitivity(y, site) * target.std(), change, rtol=0.02)


class _Level(Level):
    """Estimates alone, as `covary.predict.Level` has them."""

    def __init__(self, estimates):
        self._estimates = Targets(estimates.astype(np.float32))

    def evidence(self, _):
        return self._estimates


def test_a_run_harmonises_with_training_subjects_alone(tmp_path):
    y, site, target = confounded(160)
    site = np.arange(160) // 2 % 4
    y = (y + 2 * site[:, None]).astype(np.float32)
    parts = {"train": slice(0, 80), "validation": slice(80, 100)}
    method = TrainedMethod.model_validate({"corrector": "combat_leak_free", "effects": "monte_carlo_em"})
    assert (method.name, method.objective) == ("combat_leak_free_monte_carlo_em", "ebe_mse")
    training = SiteTraining(width=4, epochs=2, folds=2, weight_decays=[0.0])
    trained = train_method(
        _Level(target), *({name: values[part] for name, part in parts.items()} for values in (y, site)),
        parts, method, training, seed=1, checkpoint_dir=tmp_path,
    )  # fmt: skip
    combat = Combat.fit("combat_leak_free", y[:80], site[:80], target[:80].astype(np.float32))
    np.testing.assert_array_equal(trained.combat.alpha, combat.alpha)
    test = slice(100, 160)
    for predict, where in ((trained.at_seen, site[test]), (trained.at_unseen, 4 + site[test])):
        found = predict(y[test], where, target[test])
        np.testing.assert_array_equal(found, predict(y[test], where, -target[test]))
        assert not np.array_equal(found[0], predict(y[test], (where + 1) % 4, target[test])[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"site": [0, 0, 0, 0, 1]}, "^ComBat needs two subjects with different features at every "
         "site, site 1 has 1 without a difference$"),
        ({"y": [[1.0, 7.0], [2.0, 7.0], [4.0, 7.0], [3.0, 9.0], [0.0, 9.0]]},
         "^ComBat needs features that vary within sites; number 1 does not, so remove it$"),
        ({"target": [[1.0]] * 3 + [[2.0]] * 2},
         "^ComBat with the target needs a target that varies within sites;"),
        ({"site": [0, 0, None, 1, 1]}, "^site: must have a value for every subject, number 2 has none$"),
    ],
)  # fmt: skip
def test_faults(change, message):
    good = {"y": np.arange(10).reshape(5, 2) ** 2, "site": [0, 0, 0, 1, 1], "target": noise("t", 5, 1)}
    given = good | change
    with pytest.raises(UserError, match=message):
        Combat.fit("combat_target", np.array(given["y"], float), given["site"], np.array(given["target"]))
