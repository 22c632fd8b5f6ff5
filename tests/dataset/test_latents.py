"""The distribution of z: random effects are N(0, I), the other latents go with them as in a mixture."""

import numpy as np
import pytest
from scipy.stats import kstest, multivariate_normal

from covary import rng
from covary.config.dataset import Subjects
from covary.dataset.latents import Latents, Mixture
from covary.dataset.subjects import sample
from covary.vae.conditioning import joint_distribution

CHOSEN = np.array([3, 0])  # not in rising order
OPEN = np.ones(6)


def gaussian(correlation: float) -> Mixture:
    """Latents 0, 2, 3 and 5 as one Gaussian with equal correlations."""
    covariance = np.full((4, 4), correlation) + (1 - correlation) * np.eye(4)
    return Mixture(np.array([0, 2, 3, 5]), np.ones(1), np.array([[0.0, 1, 0, -1]]), covariance[None])


def two_clusters() -> Mixture:
    """Latent 2 is about 3 where latent 0 is high, and about -3 where it is low; latent 3 says nothing."""
    means = np.array([[2.0, 3.0, 0.0], [-2.0, -3.0, 0.0]])
    return Mixture(np.array([0, 2, 3]), np.full(2, 0.5), means, np.array([np.diag([0.5, 0.1, 1.0])] * 2))


@pytest.mark.parametrize("mixture", [gaussian(0.5), two_clusters()])
def test_random_effects_are_those_of_the_prior(mixture):
    z, of_prior = (Latents(CHOSEN, OPEN, m).draw(7, "z", 0, 4000) for m in (mixture, None))
    np.testing.assert_array_equal(z[:, CHOSEN], of_prior[:, CHOSEN])
    left = np.setdiff1d(np.arange(6), mixture.latents)
    np.testing.assert_array_equal(z[:, left], of_prior[:, left])
    others = np.setdiff1d(mixture.latents, CHOSEN)
    assert (z[:, others] != of_prior[:, others]).all()


def test_under_a_gaussian_the_others_have_its_conditional_distribution():
    mixture, n = gaussian(0.5), 20000
    z = Latents(CHOSEN, OPEN, mixture).draw(7, "z", 0, n)
    # With correlations 1/2 to both random effects, each other latent is their sum times 1/3, and more.
    rest = z[:, [2, 5]] - (z[:, [0]] + z[:, [3]]) / 3 - [1, -1]
    expected = np.array([[2 / 3, 1 / 6], [1 / 6, 2 / 3]])  # by hand: 1 - 2/3 · 1/2, and 1/2 - 1/3
    np.testing.assert_allclose(np.cov(rest.T), expected, atol=4 / np.sqrt(n))
    np.testing.assert_allclose(rest.mean(axis=0), 0, atol=4 / np.sqrt(n))
    assert np.abs(np.corrcoef(rest.T, z[:, [0, 3]].T)[:2, 2:]).max() < 4 / np.sqrt(n)


def test_components_are_drawn_with_their_probabilities_given_the_random_effects():
    z = Latents(CHOSEN, OPEN, two_clusters()).draw(7, "z", 0, 20000)
    density = [multivariate_normal(m, 0.5).pdf(z[:, 0]) for m in (2, -2)]
    expected = density[0] / (density[0] + density[1])
    is_high = z[:, 2] > 0
    for low in np.linspace(-1, 0.8, 10):
        some = (z[:, 0] > low) & (z[:, 0] < low + 0.2)
        assert is_high[some].mean() == pytest.approx(expected[some].mean(), abs=4 * 0.5 / np.sqrt(some.sum()))
    assert kstest((np.abs(z[:, 2]) - 3) / np.sqrt(0.1), "norm").pvalue > 0.001


def test_a_typical_z_has_the_conditional_mean_given_random_effects_of_0():
    np.testing.assert_allclose(Latents(CHOSEN, OPEN, gaussian(0.5)).typical(), [0, 0, 1, 0, 0, -1])
    lopsided = two_clusters()
    lopsided.weights[:] = 0.7, 0.3
    np.testing.assert_allclose(Latents(CHOSEN, OPEN, lopsided).typical(), [0, 0, 3, 0, 0, 0])
    assert not Latents(CHOSEN, OPEN).typical().any()


def test_the_dataset_says_how_latents_were_drawn():
    sizes = Subjects(train=4, validation=2, test=2)
    said = [
        sample(Latents(CHOSEN, OPEN, m), sizes, seed=1)["z"].attrs["comment"] for m in (None, gaussian(0.5))
    ]
    assert "independent of them" in said[0] and "mixture of Gaussians" in said[1]


def test_a_subject_draws_the_same_alone():
    latents = Latents(CHOSEN, np.full(6, 0.5), gaussian(0.3))
    together = latents.draw(3, "z", 10, 40)
    alone = np.concatenate([latents.draw(3, "z", i, i + 1) for i in range(10, 40)])
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("mixture", [None, gaussian(0.3)])
def test_a_file_keeps_every_digit(tmp_path, mixture):
    latents = Latents(CHOSEN, np.array([1, 0.1, 1, 1, 1 / 3, 1]), mixture)
    latents.write(tmp_path / "latents.json")
    again = Latents.read(tmp_path / "latents.json")
    np.testing.assert_array_equal(again.draw(5, "z", 0, 50), latents.draw(5, "z", 0, 50))


def test_clusters_are_found_and_the_prior_is_kept_where_nothing_is_better():
    z = rng.normal(1, "z", 0, 1500, (3,))
    assert joint_distribution(z, np.arange(3), 0) is None
    is_high = rng.uniform(1, "u", 0, 1500, (1,)) < 0.5
    clustered = np.where(is_high, 1, -1) * [0.9, 0.9, 0] + z * [0.3, 0.3, 1]
    found = joint_distribution(clustered, np.arange(3), 0)
    assert found is not None
    assert found.weights.sum() == pytest.approx(1)
    assert np.abs(found.means[:, :2]).min() > 0.4  # no component lies between the clusters
    again = joint_distribution(clustered, np.arange(3), 0)
    np.testing.assert_array_equal(found.covariances, again.covariances)


def test_images_that_are_too_few_say_nothing():
    assert joint_distribution(rng.normal(1, "z", 0, 3, (4,)), np.arange(4), 0) is None
