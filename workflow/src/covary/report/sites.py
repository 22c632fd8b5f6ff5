"""The part of the report about sites: what methods find at sites that they know and at new ones."""

from collections.abc import Collection, Mapping

import pandas as pd

from covary.report.comparisons import NOTHING, carries, compared, direction
from covary.wording import joined, levels, noise_label, percent, site_method_label

FIGURES = ("sites", "at_sites")
TABLES = ("sites", "sites_comparison", "site_methods")
CAPTIONED = (*FIGURES, "sites_comparison", "site_methods")
_WHERE = {"seen": "at known sites", "unseen": "at new sites"}
_CLOSE = 0.05  # above chance, in balanced accuracy


def sentences(
    tables: Mapping[str, pd.DataFrame],
    ceiling: pd.DataFrame,
    *,
    with_mark: bool,
    controls: Collection[str] = (),
) -> list[str]:
    """What is found at known and at new sites, what differs between methods, and what to do about it.

    `ceiling` is the table of `evaluate.measured_ceiling`. Methods are compared only at noise levels where the
    images carry something. `with_mark` says whether scanners leave a mark in the image. `controls` are
    the names of methods that use the outcome of test subjects; they are never advised.
    """
    scores, comparison, about = (tables[name] for name in TABLES)
    carried = carries(comparison, ceiling)
    silent = comparison[~carried].drop_duplicates("noise_variance")
    nothing = [
        f"At {noise_label(v)} methods are not compared, because the images were measured to carry {NOTHING}."
        for v in silent["noise_variance"]
    ]
    with_control = comparison[["method", "reference"]].isin(controls).any(axis=1)
    honest = scores[~scores["method"].isin(controls)], comparison[carried & ~with_control]
    return [
        _found(scores),
        *_compared(comparison[carried]),
        *nothing,
        _scanner(about, with_mark=with_mark),
        *([_control(controls)] if controls else []),
        *([_advice(*honest)] if all(map(len, honest)) else []),
    ]


def rows(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per noise level and method: `site_methods` with the scores at known and at new sites.

    Columns of scores end in the kind of site: r2_seen, low_seen, …, worst_unseen.
    """
    table, keys = tables["site_methods"], ["noise_variance", "method"]
    for part in _WHERE:
        scores = tables["sites"][tables["sites"]["part"] == part].set_index("site")
        pooled = scores.loc["all", [*keys, "r2", "low", "high", "fraction_of_max"]]
        worst = scores.loc["worst", [*keys, "r2"]].rename(columns={"r2": "worst"})
        both = pooled.merge(worst, on=keys).set_index(keys).add_suffix(f"_{part}").reset_index()
        table = table.merge(both, on=keys)
    return table


def _found(scores: pd.DataFrame) -> str:
    """What the first method finds at known and at new sites, beside what can be found."""
    first = scores["method"].iloc[0]
    rows = scores[(scores["method"] == first) & (scores["site"] == "all")]
    parts = []
    for noise_variance, of in rows.groupby("noise_variance", sort=False):
        known, new = (of[of["part"] == part].iloc[0] for part in _WHERE)
        parts.append(
            f"{_share(known)} at the sites of its training, of "
            f"{percent(known['theoretical_max'], 0)} that image and site can tell there, and "
            f"{_share(new)} at new sites, of {percent(new['theoretical_max'], 0)} that an image "
            f"can tell, at {noise_label(noise_variance)}"
        )
    return f"The method “{site_method_label(first)}” finds {'; '.join(parts)} (shares of the variance of η̂)."


def _share(row: pd.Series) -> str:
    return NOTHING if row["low"] <= 0 else percent(row["r2"], 0)


def _compared(comparison: pd.DataFrame) -> list[str]:
    """One sentence per kind of site: which methods find more, or less, than the reference."""
    said = []
    for part, where in _WHERE.items():
        rows = comparison[comparison["part"] == part]
        sentences = [
            compared(
                site_method_label(method), site_method_label(of["reference"].iloc[0]), of,
                relation="finds more than", measure="R²",
            )
            for method, of in rows.groupby("method", sort=False)
        ]  # fmt: skip
        if sentences:
            first, *others = sentences
            text = ". ".join([first, *(f"{one[0].upper()}{one[1:]}" for one in others)])
            said.append(f"{where[0].upper()}{where[1:]}: {text}.")
    return said


def _scanner(about: pd.DataFrame, *, with_mark: bool) -> str:
    """Whose hidden layers tell the site, and whose predictions follow the mark, if there is one."""
    level = about[about["noise_variance"] == about["noise_variance"].iloc[0]]
    where = noise_label(level["noise_variance"].iloc[0])
    told = [f"{site_method_label(r.method)} {percent(r.site_found, 0)}" for r in level.itertuples()]
    moved = [f"{site_method_label(r.method)} {r.change:.3f}" for r in level.itertuples()]
    chance = level["chance"].iloc[0]
    quiet = level[level["site_found"] <= chance + _CLOSE]["method"].map(site_method_label).tolist()
    hidden = (
        f"In those of {joined(quiet)} it is found less than 5 points above chance."
        if quiet
        else "It is found more than 5 points above chance in those of every method."
    )
    text = (
        f"A fresh classifier finds the site in the hidden layers ({where}; by chance {percent(chance, 0)}): "
        f"{joined(told)}. {hidden}"
    )
    if not with_mark:
        return text
    return (
        f"{text} If the mark in the corner is that of another site and all else stays, predictions move by "
        f"this many standard deviations: {joined(moved)}."
    )


def _control(methods: Collection[str]) -> str:
    """What methods that use the outcome of test subjects are good for."""
    names = joined([f"“{site_method_label(name)}”" for name in methods])
    one = len(methods) == 1
    uses, control = ("uses", "an optimistic control") if one else ("use", "optimistic controls")
    return (
        f"{names} {uses} the outcome of test subjects, estimated from their records, to harmonise the "
        f"features that it is predicted from: {control}. In practice the outcome of a new subject is not "
        "known, so such scores cannot be expected there."
    )


def _advice(scores: pd.DataFrame, comparison: pd.DataFrame) -> str:
    """What to do, from the paired comparisons at new sites, and the site where least was found."""
    new = comparison[comparison["part"] == "unseen"]
    which = direction(new["low"], new["high"])
    better, worse = new[which > 0], new[which < 0]
    parts = []
    for method, rows in better.groupby("method", sort=False):
        parts.append(f"for new sites, take {site_method_label(method)} at {levels(rows)}")
    for method, rows in worse.groupby("method", sort=False):
        parts.append(f"do not use {site_method_label(method)} at new sites at {levels(rows)}")
    text = f"What to do: {'; '.join(parts)}. " if parts else ""
    if len(new) and not parts:
        text = (
            "At new sites no method is shown to differ from the one it was compared with. That does not show "
            "that they are alike: the 95\u00a0% intervals of the differences in R² reach from "
            f"{new['low'].min():.2f} to {new['high'].max():.2f}. "
        )
    worst = scores[(scores["site"] == "worst") & (scores["part"] == "unseen")]
    least = worst.loc[worst["r2"].idxmin()]
    who, where = site_method_label(least["method"]), noise_label(least["noise_variance"])
    return (
        f"{text}The lowest R² at a single new site is {least['r2']:.2f}, that of {who} at {where}."
    ).replace(" -", " −")
