"""Clustered subjects: keyed draws, scanners, and what image and site can explain."""

import numpy as np
import pytest
from pydantic import ValidationError

from covary import rng
from covary.config.sites import Scanner, Sites
from covary.dataset.association import blur
from covary.dataset.sites import draw_sites, explainable_with_sites, mark_side, mark_strength, scan, sites_of
from covary.errors import UserError


def test_further_sites_and_subjects_leave_the_others_as_they_are():
    few, more = (draw_sites(Sites(seen=8, unseen=n), 3, seed=1) for n in (2, 5))
    for name in ("case_mix", "gain", "offset", "mark"):
        np.testing.assert_array_equal(getattr(more, name)[:10], getattr(few, name))
    config = Sites(seen=8, unseen=2, unseen_subjects=50)
    whole = sites_of(config, 0, 250, first_unseen=200, seed=1)
    parts = [sites_of(config, a, b, first_unseen=200, seed=1) for a, b in ((0, 3), (3, 201), (201, 250))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert set(whole[:200]) == set(range(8)) and set(whole[200:]) == {8, 9}


def test_sizes_are_as_configured():
    n = 40_000
    for sizes, share in (("equal", np.ones(4)), ("skewed", 1 / np.arange(1, 5))):
        site = sites_of(Sites(seen=4, sizes=sizes), 0, n, first_unseen=n, seed=1)
        np.testing.assert_allclose(np.bincount(site) / n, share / share.sum(), atol=4 * 0.5 / np.sqrt(n))


def test_confounding_is_the_correlation_of_mark_and_case_mix():
    n = 40_000
    config = Sites(seen=n, unseen=n, unseen_subjects=n, case_mix_sd=0.5, confounding=0.9)
    table = draw_sites(config, 3, seed=1)
    mean = table.case_mix.mean(axis=1)
    for part, correlation in ((slice(n), 0.9), (slice(n, None), 0.0)):
        assert np.corrcoef(table.mark[part], mean[part])[0, 1] == pytest.approx(
            correlation, abs=4 / np.sqrt(n)
        )
        np.testing.assert_allclose(table.case_mix[part].std(axis=0), 0.5, rtol=0.02)
        assert table.mark[part].std() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("noise_variance", [0.0, 1.0, 9.0])
@pytest.mark.parametrize("confounding", [0.0, 0.5, 0.9])
def test_explainable_shares_are_those_of_simulation(noise_variance, confounding):
    """R² of least squares on the image's part, on image and mark, and on image and the site's own shift."""
    n, k = 40_000, 2
    config = Sites(seen=n, confounding=confounding, case_mix_sd=0.7)
    table, site = draw_sites(config, k, seed=3), np.arange(n)
    eta, r = (rng.normal(3, name, 0, n, (k,)) for name in ("eta", "r"))
    effects = blur(eta, noise_variance, r) + table.case_mix[site]
    mark = mark_strength(table, site, 0, seed=3)[:, None]

    def r2(*columns):
        x = np.concatenate([*columns, np.ones((n, 1))], axis=1)
        residual = effects - x @ np.linalg.lstsq(x, effects, rcond=None)[0]
        return 1 - residual.var() / effects.var()

    share = explainable_with_sites(noise_variance, config, k, seen=True)
    assert r2(eta) == pytest.approx(share.image, abs=0.01)
    assert r2(eta, mark) == pytest.approx(share.image_and_mark, abs=0.01)
    assert r2(table.case_mix[site]) == pytest.approx(share.site, abs=0.01)
    assert r2(eta, table.case_mix[site]) == pytest.approx(share.both, abs=0.01)
    assert explainable_with_sites(noise_variance, config, k, seen=False).mark == 0


def test_without_case_mix_the_image_explains_what_it_did_before():
    share = explainable_with_sites(9.0, Sites(case_mix_sd=0.0, confounding=0.9), 3, seen=True)
    assert (share.image_and_mark, share.both) == pytest.approx((0.1, 0.1))


def test_a_scanner_depends_on_site_and_subject_alone():
    config = Sites(seen=4, scanner=Scanner(blur_px_sd=1.0, noise_sd=0.02))
    table = draw_sites(config, 2, seed=1)
    images = rng.generator(1, "images").integers(40, 200, (9, 1, 32, 32)).astype(np.uint8)
    site = np.arange(9) % 4
    whole = scan(images, table, site, 100, config, seed=1)
    part = scan(images[4:6], table, site[4:6], 104, config, seed=1)
    np.testing.assert_array_equal(part, whole[4:6])
    moved = scan(images, table, (site + 1) % 4, 100, config, seed=1)
    assert (moved != whole).any(axis=(1, 2, 3)).all()


def test_scanners_that_differ_in_the_mark_alone_change_nothing_else():
    scanner = Scanner(gain_sd=0.0, offset_sd=0.0, watermark=0.5)
    config = Sites(seen=4, scanner=scanner)
    table = draw_sites(config, 2, seed=1)
    images = rng.generator(1, "images").integers(0, 256, (8, 1, 32, 32)).astype(np.uint8)
    seen = scan(images, table, np.arange(8) % 4, 0, config, seed=1)
    side = mark_side(32)
    rest = np.ones((32, 32), bool)
    rest[-side:, -side:] = False
    np.testing.assert_array_equal(seen[..., rest], images[..., rest])
    mark = seen[:, 0, -1, -1]
    strength = mark_strength(table, np.arange(8) % 4, 0, seed=1)
    assert (np.diff(mark[np.argsort(strength)].astype(int)) >= 0).all() and len(set(mark)) > 4
    none = config.model_copy(update={"scanner": Scanner(gain_sd=0.0, offset_sd=0.0, watermark=0.0)})
    np.testing.assert_array_equal(scan(images, table, np.arange(8) % 4, 0, none, seed=1), images)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seen": 1}, "greater than or equal to 2"),
        ({"confounding": 1.2}, "less than or equal to 1"),
        ({"unseen_confounding": -1.2}, "greater than or equal to -1"),
        ({"unseen": 5, "unseen_subjects": 4}, r"at least the number of unseen sites \(5\), got 4"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValidationError, match=message):
        Sites(**settings)


def test_more_sites_than_subjects():
    with pytest.raises(UserError, match=r"sites.seen: must be at most .* at seen sites, 5, got 8"):
        sites_of(Sites(seen=8), 0, 9, first_unseen=5, seed=1)
