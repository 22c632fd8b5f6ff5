"""Sites in the group `subjects`, and the most that can be found at given sites."""

import numpy as np
import pytest

from covary import rng
from covary.config.dataset import Subjects
from covary.config.sites import Sites
from covary.dataset.association import blur
from covary.dataset.latents import Latents
from covary.dataset.sites import case_mix_of, draw_sites, most_at_sites, scan_at_all, table_of
from covary.dataset.subjects import SPLITS, members, sample, splits_of

LATENTS = Latents(np.array([2, 0]), np.ones(4))
SUBJECTS = Subjects(train=60, validation=20, test=40)
SITES = Sites(seen=4, unseen=2, unseen_subjects=30, confounding=0.9)


def test_subjects_at_unseen_sites_come_last_and_leave_the_others_as_they_are():
    without, with_sites = (sample(LATENTS, SUBJECTS, sites, seed=1) for sites in (None, SITES))
    assert splits_of(without) == list(SPLITS[:3]) and splits_of(with_sites) == list(SPLITS)
    assert set(without.data_vars) == {"z", "eta", "split"}
    for name in without.data_vars:
        np.testing.assert_array_equal(with_sites[name][:120], without[name])
    assert members(with_sites, "test_unseen") == slice(120, 150)
    with pytest.raises(ValueError, match="test_unseen"):
        members(without, "test_unseen")
    site = with_sites["site"].values
    assert set(site[:120]) == set(range(4)) and set(site[120:]) == {4, 5}


def test_sites_come_back_with_the_case_mix_around_the_mean_of_seen_sites():
    subjects, drawn = sample(LATENTS, SUBJECTS, SITES, seed=1), draw_sites(SITES, 2, seed=1)
    table = table_of(subjects)
    np.testing.assert_allclose(table.case_mix[:4].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.diff(table.case_mix, axis=0), np.diff(drawn.case_mix, axis=0))
    for name in ("seen", "gain", "offset", "blur_px", "mark"):
        np.testing.assert_array_equal(getattr(table, name), getattr(drawn, name))
    np.testing.assert_array_equal(case_mix_of(subjects)[7], table.case_mix[subjects["site"].values[7]])


@pytest.mark.parametrize("noise_variance", [0.0, 1.0])
@pytest.mark.parametrize("site_known", [True, False])
def test_the_most_is_what_the_best_prediction_reaches(noise_variance, site_known):
    n = 200_000
    eta, r = (rng.normal(2, name, 0, n, (2,)) for name in ("eta", "r"))
    b = np.array([[0.9, -0.1], [0.2, 0.3], [-0.4, 0.8]])[np.arange(n) % 3]
    effects = blur(eta, noise_variance, r) + b
    best = eta / np.sqrt(1 + noise_variance) + (b if site_known else 0)
    r2 = 1 - np.square(effects - best).sum() / np.square(effects - effects.mean(axis=0)).sum()
    assert most_at_sites(noise_variance, b, site_known=site_known) == pytest.approx(r2, abs=0.005)


def test_a_moved_mark_changes_nothing_but_the_mark():
    subjects = sample(LATENTS, SUBJECTS, SITES, seed=1)
    images = rng.generator(1, "pixels").integers(40, 200, (5, 1, 16, 16)).astype(np.uint8)
    scanned = scan_at_all(images, subjects, 80, SITES, seed=1)
    assert scanned["at_sites"].shape == (6, 5, 1, 16, 16)
    differs = (scanned["home"] != scanned["moved"]).any(axis=(0, 1))
    assert differs[-2:, -2:].all() and not differs[:-2].any() and not differs[:, :-2].any()
    own = subjects["site"].values[80:85]
    np.testing.assert_array_equal(scanned["home"], scanned["at_sites"][own, np.arange(5)])
