"""Sites: the scanner, hospital or plate that a subject belongs to, and what it does to image and record.

The random effects of a subject at site s are eta_hat + b_s, with the site's case mix b_s ~ N(0, c² I). The
image does not show b_s. It shows the scanner: gain, offset, blur, noise, and a mark whose strength w_s has
the correlation ρ (confounding) with the mean of b_s over random effects. A network can therefore learn b_s
from the mark at seen sites, where ρ is high, and is misled at unseen sites, where it is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float64, Int64, UInt8
from scipy.ndimage import gaussian_filter

from covary import rng
from covary.config.sites import Sites
from covary.dataset.association import explainable_fraction
from covary.errors import UserError

MARK_JITTER_SD = 0.2  # of the mark's strength between images of one site, in its SD between sites
_MARK_SHARE = 8  # the side of an image is so many times that of its mark
_MARK_RANGE = 3.0  # strengths are clipped to ± this; then the mark is black, or as bright as can be


@dataclass(frozen=True)
class SiteTable:
    """Every site, the seen ones first: its case mix and its scanner."""

    seen: int
    case_mix: Float64[np.ndarray, "site random_effect"]
    gain: Float64[np.ndarray, " site"]
    offset: Float64[np.ndarray, " site"]
    blur_px: Float64[np.ndarray, " site"]
    mark: Float64[np.ndarray, " site"]

    def __len__(self) -> int:
        return len(self.mark)


def draw_sites(config: Sites, random_effects: int, *, seed: int) -> SiteTable:
    """Draw every site from a stream of its own: further sites leave the others as they are."""
    n, scanner = config.total, config.scanner
    numbers = rng.normal(seed, "sites", 0, n, (random_effects + 4,))
    b, (gain, offset, blur, free) = numbers[:, :random_effects], numbers[:, random_effects:].T
    correlation = np.where(np.arange(n) < config.seen, config.confounding, config.unseen_confounding)
    mean = b.sum(axis=1) / np.sqrt(random_effects)
    return SiteTable(
        config.seen,
        config.case_mix_sd * b,
        1 + scanner.gain_sd * gain,
        scanner.offset_sd * offset,
        scanner.blur_px_sd * np.abs(blur),
        correlation * mean + np.sqrt(1 - correlation**2) * free,
    )


def sites_of(
    config: Sites, start: int, stop: int, *, first_unseen: int, seed: int
) -> Int64[np.ndarray, " subject"]:
    """The site of each of the subjects `start … stop - 1`; those from `first_unseen` on are at unseen sites.

    Every subject draws from a stream of its own. The first subjects of each kind fill its sites one by one,
    so that no site is empty. Raises UserError if there are fewer subjects than sites.
    """
    if first_unseen < config.seen:
        raise UserError(f"sites.seen: must be at most the number of subjects at seen sites, {first_unseen}, "
                        f"got {config.seen}")  # fmt: skip
    u = rng.uniform(seed, "site", start, stop, ())
    subject = np.arange(start, stop)
    unseen = subject >= first_unseen
    found = np.empty(len(subject), np.int64)
    for some, first, number, rank in (
        (~unseen, 0, config.seen, subject),
        (unseen, config.seen, config.unseen, subject - first_unseen),
    ):
        share = np.ones(number) if config.sizes == "equal" else 1 / np.arange(1, number + 1)
        drawn = np.searchsorted(np.cumsum(share)[:-1] / share.sum(), u[some], side="right")
        found[some] = first + np.where(rank[some] < number, rank[some], drawn)
    return found


_OF_SITES = {
    "gain": ("gain of the scanner of the site", "1"),
    "offset": ("offset of the scanner; white is 1", "1"),
    "blur_px": ("blur of the scanner, a Gaussian's standard deviation", "pixel"),
    "mark": ("strength of the mark that the scanner leaves", "1"),
}


def label_sites(
    config: Sites, random_effects: int, first_unseen: int, n_subjects: int, *, seed: int
) -> xr.Dataset:
    """The part of the group `subjects` about sites: the site of each subject, and what is true of each site.

    The case mix is given as deviations from its mean over seen sites, since this mean is part of the
    population's fixed effects. Raises UserError if there are more seen sites than subjects at them.
    """
    table = draw_sites(config, random_effects, seed=seed)
    site = sites_of(config, 0, n_subjects, first_unseen=first_unseen, seed=seed)
    case_mix = table.case_mix - table.case_mix[: table.seen].mean(axis=0)
    meaning = {"long_name": "shift of the random effects at the site", "units": "1"}
    of_subject = {"long_name": "site, the seen ones first", "units": "1", "seen": table.seen}
    return xr.Dataset(
        {
            "site": ("subject", site, of_subject),
            "site_case_mix": (("site_number", "random_effect"), case_mix, meaning),
        }
        | {
            f"site_{name}": ("site_number", getattr(table, name), {"long_name": long_name, "units": units})
            for name, (long_name, units) in _OF_SITES.items()
        }
    )


def table_of(subjects: xr.Dataset) -> SiteTable:
    """The sites again, from the group `subjects`."""
    return SiteTable(
        int(subjects["site"].attrs["seen"]),
        *(subjects[f"site_{name}"].values for name in ("case_mix", *_OF_SITES)),
    )


def case_mix_of(subjects: xr.Dataset) -> Float64[np.ndarray, "subject random_effect"]:
    """The shift of every subject's random effects, from the group `subjects`."""
    return subjects["site_case_mix"].values[subjects["site"].values]


def mark_strength(
    table: SiteTable, site: Int64[np.ndarray, " subject"], start: int, *, seed: int
) -> Float64[np.ndarray, " subject"]:
    """Strength of the mark on the image of each subject from `start` on: that of its site, with jitter."""
    return table.mark[site] + MARK_JITTER_SD * rng.normal(seed, "mark", start, start + len(site), ())


def scan(
    images: UInt8[np.ndarray, "subject channel y x"],
    table: SiteTable,
    site: Int64[np.ndarray, " subject"],
    start: int,
    config: Sites,
    *,
    seed: int,
) -> UInt8[np.ndarray, "subject channel y x"]:
    """The images as the scanners of these sites show them; the subjects are `start …`.

    The same subject has the same noise and jitter at every site, and whatever the batch. The mark is a square
    in the lower right corner.
    """
    shape = images.shape[1:]
    x = images / 255.0
    for i in np.flatnonzero(table.blur_px[site]):
        x[i] = gaussian_filter(x[i], sigma=(0, table.blur_px[site[i]], table.blur_px[site[i]]))
    x = table.gain[site][:, None, None, None] * x + table.offset[site][:, None, None, None]
    if config.scanner.noise_sd:
        x += config.scanner.noise_sd * rng.normal(seed, "scanner_noise", start, start + len(x), shape)
    if config.scanner.watermark:
        side = mark_side(shape[-1])
        strength = mark_strength(table, site, start, seed=seed).clip(-_MARK_RANGE, _MARK_RANGE)
        brightness = config.scanner.watermark * (strength + _MARK_RANGE) / (2 * _MARK_RANGE)
        x[..., -side:, -side:] = brightness[:, None, None, None]
    return np.rint(255 * x.clip(0, 1)).astype(np.uint8)


def scan_at_all(
    images: UInt8[np.ndarray, "subject channel y x"],
    subjects: xr.Dataset,
    start: int,
    config: Sites,
    *,
    seed: int,
) -> dict[str, UInt8[np.ndarray, "..."]]:
    """The images of the subjects `start …` as every scanner shows them, and with the mark of another site.

    `images` have passed through no scanner. Returns `at_sites` (site, subject, channel, y, x); `home`, the
    images at the own site; and `moved`, the same with the mark of the next seen site, with which only the
    mark differs. `subjects` is the group of that name.
    """
    table = table_of(subjects)
    own = subjects["site"].values[start : start + len(images)].astype(np.int64)
    everywhere = [np.full(len(images), s) for s in range(len(table))]
    at_sites = np.stack([scan(images, table, site, start, config, seed=seed) for site in everywhere])
    other_marks = table.mark.copy()
    other_marks[: table.seen] = np.roll(table.mark[: table.seen], 1)
    moved = scan(images, replace(table, mark=other_marks), own, start, config, seed=seed)
    return {"at_sites": at_sites, "home": at_sites[own, np.arange(len(images))], "moved": moved}


def mark_side(size_px: int) -> int:
    """Side of the mark in pixels."""
    return size_px // _MARK_SHARE


@dataclass(frozen=True)
class Explainable:
    """Shares of the variance of a random effect, over sites and subjects."""

    image: float  # by what the image shows of the subject
    mark: float  # by what the mark tells of the site's case mix
    site: float  # by the site

    @property
    def image_and_mark(self) -> float:
        """The most that a network can explain that sees the image alone."""
        return self.image + self.mark

    @property
    def both(self) -> float:
        """The most that a network can explain that sees the image and knows the site."""
        return self.image + self.site


def explainable_with_sites(
    noise_variance: float, config: Sites, random_effects: int, *, seen: bool
) -> Explainable:
    """What image, mark and site can explain of eta_hat + b, in closed form, over all possible sites.

    With Var(eta_hat) = 1 and Var(b) = c², the image explains 1/((1 + σ²)(1 + c²)) and the site c²/(1 + c²).
    All is normal, so the mark explains its squared correlation with b, ρ²/(k (1 + 0.2²)), of the site's
    share; where there is no mark, nothing. Few sites can be told from each other by their marks, and then
    more of the share can be learnt at these sites alone. Raises ValueError if σ² is not a number ≥ 0.
    """
    total = 1 + config.case_mix_sd**2
    of_site = config.case_mix_sd**2 / total
    correlation = config.confounding if seen else config.unseen_confounding
    squared = correlation**2 / (random_effects * (1 + MARK_JITTER_SD**2)) if config.scanner.watermark else 0.0
    return Explainable(explainable_fraction(noise_variance) / total, squared * of_site, of_site)


def most_at_sites(
    noise_variance: float, case_mix: Float64[np.ndarray, "subject random_effect"], *, site_known: bool
) -> float:
    """The R² of the best prediction of these subjects from image and, if it is known, site, in closed form.

    `case_mix` is given as in the dataset, as deviations from what the population's fixed effects hold. R² is
    over all random effects together, and its total is the variance around the mean of these subjects. A
    prediction that does not know the site misses the square of its case mix. Without noise,
    R² = (1 - mean of b̄²)/(1 + Var b) for an unknown site. What marks tell is left out.
    """
    effects = case_mix.shape[1]
    total = effects + case_mix.var(axis=0).sum()
    missed = effects * (1 - explainable_fraction(noise_variance))
    return float(1 - (missed + (0.0 if site_known else np.square(case_mix).mean(axis=0).sum())) / total)


def encode(
    column: Sequence[Any] | np.ndarray, key: str = "site"
) -> tuple[Int64[np.ndarray, " subject"], list[Any]]:
    """The site of each subject as a number 0 … C - 1, and the names of the sites in ascending order.

    Raises UserError if a value is missing, texts and numbers are mixed, there is one site only, or there are
    as many sites as subjects or more.
    """
    values = np.asarray(column, dtype=object).tolist()
    missing = [i for i, value in enumerate(values) if value is None or value != value or value == ""]
    if missing:
        raise UserError(f"{key}: must have a value for every subject; {len(missing)} of {len(values)} have "
                        f"none, the first is number {missing[0]}")  # fmt: skip
    is_text = [isinstance(value, str) for value in values]
    if len(set(is_text)) > 1:
        first = is_text.index(not is_text[0])
        raise UserError(f"{key}: must be all text or all numbers; subject 0 has {values[0]!r}, "
                        f"subject {first} has {values[first]!r}")  # fmt: skip
    names = sorted(set(values))
    if len(names) < 2:
        raise UserError(f"{key}: must name at least 2 sites, got {len(names)}")
    if len(names) >= len(values):
        raise UserError(
            f"{key}: must have fewer sites than subjects, got {len(names)} sites of {len(values)} subjects"
        )
    number = {name: i for i, name in enumerate(names)}
    return np.array([number[value] for value in values]), names
