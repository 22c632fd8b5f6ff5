"""Do predictions hold at other sites? Scores at seen and at unseen sites, with intervals."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int64
from scipy.stats import norm, wilcoxon

from covary import rng
from covary.predict.armed import SiteIntercepts
from covary.predict.tables import SiteModel
from covary.resampling import percentile_interval

_LEVEL = 0.9  # of intervals of site effects


@dataclass(frozen=True)
class AtSites:
    """Predictions of the same subjects by several methods; `part` is, for instance, `seen` or `unseen`."""

    part: str
    site: Int64[np.ndarray, " subject"]
    eta_hat: Float[np.ndarray, "subject random_effect"]
    eta_pred: Mapping[str, Float[np.ndarray, "subject random_effect"]]


def resampled_rows(
    site: Int64[np.ndarray, " subject"], *, seed: int, resamples: int
) -> list[Int64[np.ndarray, " row"]]:
    """Rows of each bootstrap resample: sites are drawn with replacement, then the subjects of each.

    Subjects of one site are alike, so their number alone would make intervals too short.
    """
    members = [np.flatnonzero(site == name) for name in np.unique(site)]
    drawn = []
    for b in range(resamples):
        random = rng.generator(seed, "site_bootstrap", b)
        sites = random.integers(0, len(members), len(members))
        drawn.append(np.concatenate([random.choice(members[s], len(members[s])) for s in sites]))
    return drawn


def site_table(data: AtSites, *, seed: int, resamples: int = 1000) -> pd.DataFrame:
    """R² of every method over all sites of a part and at each of them.

    Columns: part, method, site (`all`, `worst`, `sd`, or its number), subjects, r2, low, high. R² has one
    mean of eta_hat for all sites of the part, also in the rows of single sites: the share of the spread
    that is explained, averaged over subjects. `worst` is the least R² of a site, `sd` the spread over
    sites. Intervals (95 %) resample sites and then subjects; a single site has none.
    """
    rows = resampled_rows(data.site, seed=seed, resamples=resamples)
    lines = []
    for method, predicted in data.eta_pred.items():
        squares = _squares(data.eta_hat, predicted)
        low, high = percentile_interval(np.array([_r2(squares[some], data.eta_hat[some]) for some in rows]))
        lines.append((data.part, method, "all", len(data.site), _r2(squares, data.eta_hat), low, high))
        of_sites = _r2_of_sites(data, predicted)
        for name, value in {"worst": of_sites.min(), "sd": of_sites.std(ddof=1)}.items():
            lines.append((data.part, method, name, len(data.site), value, np.nan, np.nan))
        for name, value in of_sites.items():
            number = int((data.site == name).sum())
            lines.append((data.part, method, str(name), number, value, np.nan, np.nan))
    return pd.DataFrame(lines, columns=["part", "method", "site", "subjects", "r2", "low", "high"])


def site_comparison(data: AtSites, reference: str, *, seed: int, resamples: int = 1000) -> pd.DataFrame:
    """Every method against the reference, paired: part, method, reference, difference, low, high, p.

    `difference` is that of R² over all sites, with a 95 % interval that resamples sites and then subjects;
    `p` is that of Wilcoxon's signed-rank test on the differences at single sites.
    """
    rows = resampled_rows(data.site, seed=seed, resamples=resamples)
    other = _squares(data.eta_hat, data.eta_pred[reference])
    lines = []
    for method, predicted in data.eta_pred.items():
        if method == reference:
            continue
        own = _squares(data.eta_hat, predicted)
        replicates = np.array(
            [_r2(own[some], data.eta_hat[some]) - _r2(other[some], data.eta_hat[some]) for some in rows]
        )
        difference = _r2(own, data.eta_hat) - _r2(other, data.eta_hat)
        per_site = _r2_of_sites(data, predicted) - _r2_of_sites(data, data.eta_pred[reference])
        p = wilcoxon(per_site).pvalue if (per_site != 0).any() else 1.0
        lines.append((data.part, method, reference, difference, *percentile_interval(replicates), p))
    columns = ["part", "method", "reference", "difference", "low", "high", "p"]
    return pd.DataFrame(lines, columns=columns)


def intercepts_table(
    found: SiteIntercepts, case_mix: Float[np.ndarray, "site random_effect"]
) -> pd.DataFrame:
    """Site intercepts as estimated against the true case mix, one row per random effect.

    Columns: random_effect, correlation, coverage (of 90 % intervals), variance, true_variance. Both are
    compared as deviations from their mean over the sites, since the mean is a fixed effect. The variances
    are over these sites.
    """
    estimate, true = (value - value.mean(axis=0) for value in (found.mean, case_mix))
    half = norm.ppf(0.5 + _LEVEL / 2) * found.sd
    return pd.DataFrame(
        {
            "random_effect": np.arange(1, true.shape[1] + 1),
            "correlation": [np.corrcoef(*pair)[0, 1] for pair in zip(estimate.T, true.T, strict=True)],
            "coverage": (np.abs(estimate - true) <= half).mean(axis=0),
            "variance": found.variance,
            "true_variance": true.var(axis=0, ddof=1),
        }
    )


def balanced_accuracy_of_site(
    features: Float[np.ndarray, "subject feature"], site: Int64[np.ndarray, " subject"], *, seed: int
) -> float:
    """How well a classifier, trained afresh on half of the subjects, finds the site of the others.

    The mean over sites of the share that is found; by chance it is one over the number of sites. The
    adversary of the training cannot measure this, because the network was trained to make it fail.
    """
    order = rng.generator(seed, "site_classifier").permutation(len(site))
    train, test = np.array_split(order, 2)
    model = SiteModel("plain", "classification", seed=seed, epochs=40, batch_size=64)
    model.fit(features[train], site[train], site[train])
    found = np.asarray(model.classes)[model.predict_fixed(features[test]).argmax(axis=1)]
    right = found == site[test]
    return float(np.mean([right[site[test] == name].mean() for name in np.unique(site[test])]))


def _squares(eta_hat: np.ndarray, eta_pred: np.ndarray) -> Float64[np.ndarray, " subject"]:
    return np.square(eta_hat - eta_pred).sum(axis=1, dtype=np.float64)


def _r2(squares: Float64[np.ndarray, " subject"], eta_hat: np.ndarray) -> float:
    """1 - SS_res/SS_tot of all random effects together, each around its own mean."""
    return float(1 - squares.mean() / eta_hat.var(axis=0, dtype=np.float64).sum())


def _r2_of_sites(data: AtSites, eta_pred: np.ndarray) -> pd.Series:
    spread = data.eta_hat.var(axis=0, dtype=np.float64).sum()
    return 1 - pd.Series(_squares(data.eta_hat, eta_pred)).groupby(data.site).mean() / spread
