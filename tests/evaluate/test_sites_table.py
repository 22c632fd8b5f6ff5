"""Scores at sites: closed forms, and intervals that know of sites."""

import numpy as np
import pytest

from covary import rng
from covary.evaluate.metrics import r2
from covary.evaluate.sites import (
    AtSites,
    balanced_accuracy_of_site,
    intercepts_table,
    resampled_rows,
    site_comparison,
    site_table,
)
from covary.predict.armed import SiteIntercepts

SITE = np.repeat(np.arange(8), 50)


def clustered() -> AtSites:
    eta = rng.normal(1, "eta", 0, 400, (2,))
    b = 0.7 * rng.normal(1, "b", 0, 8, (2,))
    return AtSites("seen", SITE, eta + b[SITE], {"plain": 0.9 * eta, "armed": 0.9 * eta + b[SITE]})


def test_r2_over_all_sites_is_the_mean_of_sites_of_equal_size():
    table = site_table(clustered(), seed=1, resamples=200)
    for method in ("plain", "armed"):
        rows = table[table["method"] == method].set_index("site")
        of_sites = rows.loc[[str(i) for i in range(8)], "r2"]
        assert rows.loc["all", "r2"] == pytest.approx(of_sites.mean())
        assert rows.loc["worst", "r2"] == of_sites.min() and rows.loc["sd", "r2"] == of_sites.std(ddof=1)
        assert rows.loc["all", "low"] < rows.loc["all", "r2"] < rows.loc["all", "high"]
    one = AtSites("seen", SITE, clustered().eta_hat[:, :1], {"plain": clustered().eta_pred["plain"][:, :1]})
    assert site_table(one, seed=1, resamples=10)["r2"].iloc[0] == pytest.approx(
        r2(one.eta_hat, one.eta_pred["plain"])
    )


def test_intervals_that_resample_sites_are_longer_where_sites_differ():
    """The mean of a variable that is constant within a site has the variance σ²/C, whatever the subjects."""
    values = rng.normal(1, "b", 0, 8, ())[SITE]
    means = [values[rows].mean() for rows in resampled_rows(SITE, seed=1, resamples=2000)]
    per_site = values.reshape(8, 50)[:, 0]
    assert np.std(means) == pytest.approx(per_site.std() / np.sqrt(8), rel=0.06)
    independent = rng.normal(1, "e", 0, 400, ())
    means = [independent[rows].mean() for rows in resampled_rows(SITE, seed=1, resamples=500)]
    assert np.std(means) < 2 * independent.std() / 20


def test_comparison_finds_what_is_better_at_every_site_and_only_that():
    data = clustered()
    same = AtSites("seen", SITE, data.eta_hat, data.eta_pred | {"copy": data.eta_pred["plain"]})
    table = site_comparison(same, "plain", seed=1, resamples=200).set_index("method")
    assert table.loc["armed", "low"] > 0 and table.loc["armed", "p"] < 0.05
    assert (table.loc["copy", ["difference", "low", "high"]] == 0).all() and table.loc["copy", "p"] == 1


def test_intercepts_are_compared_as_deviations_from_their_mean():
    b = rng.normal(2, "b", 0, 8, (2,))
    sd = np.full((8, 2), 0.1)
    table = intercepts_table(SiteIntercepts(b + 3.0, sd), b)
    np.testing.assert_allclose(table["correlation"], 1)
    assert (table["coverage"] == 1).all()
    deviations = b - b.mean(axis=0)
    assert table["variance"].values == pytest.approx(np.square(deviations).sum(axis=0) / 7 + 8 / 7 * 0.01)
    off = intercepts_table(SiteIntercepts(b + np.where(np.arange(8) < 4, 1.0, -1.0)[:, None], sd), b)
    assert (off["coverage"] == 0).all()


def test_a_fresh_classifier_finds_a_site_where_it_is_and_not_where_it_is_not():
    x = rng.normal(1, "x", 0, 400, (3,))
    assert balanced_accuracy_of_site(x, SITE, seed=1) < 0.125 + 0.05
    marked = np.concatenate([x, SITE[:, None] + 0.1 * rng.normal(1, "mark", 0, 400, (1,))], axis=1)
    assert balanced_accuracy_of_site(marked, SITE, seed=1) > 0.3
