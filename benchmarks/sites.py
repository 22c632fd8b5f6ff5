"""Methods for sites on features: what is found at seen and at unseen sites, by confounding.

    python benchmarks/sites.py [--seeds 1 2 3] [--confounding 0 0.5 0.9] [--minutes 9]

Eight seen and four unseen sites with 150 subjects each for training, as many for testing. Features stand for
those of an image: two random effects and four numbers that are of no use, rotated, with the gain and offset
of the site, and the strength of a mark. eta_hat (σ² = 0) is the random effects with the case mix of the
site, which no feature shows. Training sees estimates of eta_hat, with an error. Scores are against eta_hat
itself. A call does trainings until its minutes are over, and the next call goes on.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import ortho_group, t

from covary import rng
from covary.config.site_methods import METHODS, RANDOM_EFFECTS, SiteMethod
from covary.config.sites import Sites
from covary.dataset.sites import draw_sites, explainable_with_sites, mark_strength, sites_of
from covary.evaluate.sites import balanced_accuracy_of_site, intercepts_table
from covary.predict.tables import SiteModel

SEEN, UNSEEN, PER_SITE, EFFECTS, USELESS = 8, 4, 150, 2, 4
ESTIMATE_SD = 0.5  # error of the estimates of eta_hat
EPOCHS, ADVERSARY_WEIGHT = 60, 10.0


def main() -> None:
    """Do trainings until the time is over, then print what is known."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(1, 11)))
    parser.add_argument("--confounding", type=float, nargs="*", default=[0.0, 0.5, 0.9])
    parser.add_argument("--case-mix", type=float, default=0.5)
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--minutes", type=float, default=9.0, help="start no training after so long")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/sites.json"))
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    rows = json.loads(options.output.read_text()) if options.output.exists() else []
    done = {(row["seed"], row["case_mix"], row["confounding"], row["method"]) for row in rows}
    for seed in options.seeds:
        for confounding in options.confounding:
            for method in options.methods:
                key = (seed, options.case_mix, confounding, method)
                if key in done:
                    continue
                if time.monotonic() > end:
                    continue
                row = dict(zip(("seed", "case_mix", "confounding", "method"), key, strict=True))
                rows.append(row | score(*key))
                options.output.parent.mkdir(parents=True, exist_ok=True)
                options.output.write_text(json.dumps(rows, indent=1))
    print(table(pd.DataFrame(rows)).to_string(index=False, float_format=lambda value: f"{value:.3f}"))


def score(seed: int, case_mix: float, confounding: float, name: str) -> dict[str, float]:
    """R² at seen sites (true site) and at unseen ones, and how far predictions follow the mark."""
    of_sites = 2 * SEEN * PER_SITE
    config = Sites(
        seen=SEEN,
        unseen=UNSEEN,
        unseen_subjects=UNSEEN * PER_SITE,
        case_mix_sd=case_mix,
        confounding=confounding,
    )
    sites = draw_sites(config, EFFECTS, seed=seed)
    n = of_sites + config.unseen_subjects
    site = sites_of(config, 0, n, first_unseen=of_sites, seed=seed)
    eta = rng.normal(seed, "eta", 0, n, (EFFECTS,))
    y = eta + sites.case_mix[site]
    estimates = y + ESTIMATE_SD * rng.normal(seed, "estimates", 0, n, (EFFECTS,))
    rotation = ortho_group.rvs(EFFECTS + USELESS, random_state=rng.generator(1, "rotation"))
    shown = np.concatenate([eta, rng.normal(seed, "useless", 0, n, (USELESS,))], axis=1) @ rotation

    def features(scanner: np.ndarray) -> np.ndarray:
        mark = mark_strength(sites, scanner, 0, seed=seed)[:, None]
        return np.concatenate([sites.gain[site, None] * shown + sites.offset[site, None], mark], axis=1)

    x, train = features(site), slice(of_sites // 2)
    test, unseen = slice(of_sites // 2, of_sites), slice(of_sites, n)
    corrector, effects = METHODS[name]
    adversary = {"adversary_weight": ADVERSARY_WEIGHT} if corrector == "adversary" else {}
    method = SiteMethod(corrector=corrector, effects=effects, **adversary)
    model = SiteModel(method, seed=seed, epochs=EPOCHS, batch_size=64).fit(
        x[train], estimates[train], site[train]
    )

    known = x[test], site[test], estimates[test]  # of which methods take what they need
    new = x[unseen], site[unseen], estimates[unseen]

    def r2(part: slice, predicted: np.ndarray) -> float:
        return float(1 - np.square(y[part] - predicted).mean() / y[part].var(axis=0).mean())

    moved = features(rng.generator(seed, "marks").permutation(SEEN)[site % SEEN])
    fixed, new_fixed = model.predict_fixed(*known), model.predict_fixed(*new)
    at_new = model.predict_mixed(x[unseen]) if model.new_sites else new_fixed
    result = {
        "adversary_loss": float(model.history.get("adversary_loss", pd.Series([np.nan])).iloc[-1]),
        "seen": r2(test, model.predict_mixed(*known)),
        "seen_fixed": r2(test, fixed),
        "unseen_fixed": r2(unseen, new_fixed),
        "unseen_predicted_site": r2(unseen, at_new),
        "change": float(np.abs(model.predict_fixed(moved[test], *known[1:]) - fixed).mean()),
        "site_found": balanced_accuracy_of_site(model.hidden(*known), site[test], seed=seed),
    }
    if effects in RANDOM_EFFECTS:
        found = intercepts_table(model.intercepts(), sites.case_mix[:SEEN]).mean()
        result |= {key: float(found[key]) for key in ("correlation", "coverage", "variance", "true_variance")}
    return result


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, with paired differences from plain at seen and unseen sites (95 %, Student's t)."""
    keys, lines = ["case_mix", "confounding", "method"], []
    for (case_mix, confounding, method), group in rows.groupby(keys, sort=True):
        same = (rows["case_mix"] == case_mix) & (rows["confounding"] == confounding)
        plain = rows[same & (rows["method"] == "plain")].set_index("seed")
        own = group.set_index("seed")
        line = {"case_mix": case_mix, "confounding": confounding, "method": method, "seeds": len(own)}
        line |= own.drop(columns=keys).mean()
        unseen = "unseen_predicted_site" if METHODS[method][1] == "input" else "unseen_fixed"
        for name, column in {"gain_seen": "seen", "gain_unseen": unseen}.items():
            gain = (own[column] - plain["seen" if column == "seen" else "unseen_fixed"]).dropna()
            half = t.ppf(0.975, max(1, len(gain) - 1)) * gain.std(ddof=1) / np.sqrt(max(1, len(gain)))
            line[name] = f"{gain.mean():.3f} ± {half:.3f}"
        config = Sites(seen=SEEN, case_mix_sd=case_mix, confounding=confounding)
        line["most"] = explainable_with_sites(0.0, config, EFFECTS, seen=True).both
        lines.append(line)
    return pd.DataFrame(lines)


if __name__ == "__main__":
    main()
