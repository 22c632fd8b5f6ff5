"""Tables of the methods for sites: scores, comparisons, and how far predictions follow the scanner."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from covary.config.site_methods import RANDOM_EFFECTS
from covary.dataset.sites import case_mix_of, most_at_sites
from covary.dataset.subjects import members
from covary.evaluate.sites import AtSites, intercepts_table, site_comparison, site_table
from covary.predict.armed import SiteIntercepts

SEEN, UNSEEN = "seen", "unseen"
_SPLITS = {SEEN: "test", UNSEEN: "test_unseen"}
REFERENCE = "plain"


class LevelAtSites:
    """The test subjects of one noise level at seen and at unseen sites, with the predictions of all methods.

    `subjects` is the group of that name, `eta_hat` those of all subjects.
    """

    def __init__(
        self, noise_variance: float, subjects: xr.Dataset, eta_hat: Float[np.ndarray, "subject random_effect"]
    ):
        self.noise_variance = noise_variance
        self._parts = {part: members(subjects, split) for part, split in _SPLITS.items()}
        self._site, self._eta_hat = subjects["site"].values.astype(np.int64), eta_hat
        self._case_mix = case_mix_of(subjects)
        seen = int(subjects["site"].attrs["seen"])
        self._true_intercepts = subjects["site_case_mix"].values[:seen]
        self._predictions: dict[str, dict[str, np.ndarray]] = {SEEN: {}, UNSEEN: {}}
        self._about: list[dict] = []

    def add(self, method: str, effects: str, arrays: dict[str, np.ndarray]) -> None:
        """Take in what a method predicts (see the rule `train_site_method`)."""
        unseen_by = str(arrays["unseen_by"])
        self._predictions[SEEN][method] = arrays["seen"][1]
        self._predictions[UNSEEN][method] = arrays["unseen"][int(unseen_by == "mixed")]
        at_sites, home, moved = (arrays[name].astype(np.float64) for name in ("at_sites", "home", "moved"))
        row = {
            "noise_variance": self.noise_variance,
            "method": method,
            "adversary_weight": float(arrays["adversary_weight"]),
            "weight_decay": float(arrays["weight_decay"]),
            "unseen_by": unseen_by,
            "site_found": float(arrays["site_found"]),
            "chance": 1 / len(self._true_intercepts),
            "reliance": float(arrays["reliance"]),
            "change": float(np.abs(moved - home).mean()),
            "inter_site_sd": float(np.sqrt(at_sites.var(axis=0).mean())),
        }
        if effects in RANDOM_EFFECTS:
            found = SiteIntercepts(arrays["intercepts"].astype(float), arrays["intercepts_sd"].astype(float))
            means = intercepts_table(found, self._true_intercepts).mean()
            row |= {name: means[name] for name in ("correlation", "coverage", "variance", "true_variance")}
        self._about.append(row)

    def parts(self) -> list[AtSites]:
        """The predictions at seen sites, with the true site, and at unseen sites."""
        return [
            AtSites(part, self._site[rows], self._eta_hat[rows], self._predictions[part])
            for part, rows in self._parts.items()
        ]

    def most(self, part: str) -> float:
        """The R² of the best prediction in this part: from image and site, or at unseen sites the image."""
        case_mix = self._case_mix[self._parts[part]]
        return most_at_sites(self.noise_variance, case_mix, site_known=part == SEEN)

    def about(self) -> pd.DataFrame:
        """One row per method."""
        return pd.DataFrame(self._about)


def site_tables(
    levels: Sequence[LevelAtSites], *, seed: int, resamples: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Three tables: R² at sites, paired comparisons with `plain` (or the first method), one row per method.

    The first is that of `evaluate.sites.site_table`, with noise_variance, theoretical_max (the R² of the best
    prediction of these subjects) and fraction_of_max; the second that of `site_comparison`. The third has
    noise_variance, method, the settings that were chosen on sites left out, unseen_by (which prediction
    serves at unseen sites), site_found (balanced accuracy of a fresh classifier of the site on hidden
    activations) and chance, reliance (mean gradient in the mark over that elsewhere), change (of predictions
    when marks are exchanged between sites), inter_site_sd (of the predictions of one subject at all sites),
    and of methods with random effects correlation, coverage, variance and true_variance of the site
    intercepts.
    """
    scores, comparisons = [], []
    for level in levels:
        for data in level.parts():
            most = level.most(data.part)
            table = site_table(data, seed=seed, resamples=resamples)
            table.insert(0, "noise_variance", level.noise_variance)
            summary = table["site"] == "all"
            table["theoretical_max"] = np.where(summary, most, np.nan)
            table["fraction_of_max"] = table["r2"] / table["theoretical_max"]
            scores.append(table)
            reference = REFERENCE if REFERENCE in data.eta_pred else next(iter(data.eta_pred))
            compared = site_comparison(data, reference, seed=seed, resamples=resamples)
            compared.insert(0, "noise_variance", level.noise_variance)
            comparisons.append(compared)
    about = pd.concat([level.about() for level in levels])
    return pd.concat(scores), pd.concat(comparisons), about
