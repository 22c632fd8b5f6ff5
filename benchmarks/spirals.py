"""The simulation of the ARMED paper, two spirals at ten sites, with and without confounded probes.

    python benchmarks/spirals.py [--seeds 1 2 3] [--variant plain confounded] [--minutes 9]

Each site has 500 points per class on two arms of a spiral; the radius of the spiral differs between sites,
r ~ N(1, 0.3²). In the confounded variant the share of the first class differs between sites,
ρ ~ N(0.5, 0.3²) within 0.1 … 0.9, and two further features tell it: N(ρ, 0.2²). Within a site they
tell nothing.
Seeds are of initialisation, order and of the tenth that is held out; the data are the same for all. Networks
have three hidden layers of four units and train for 60 epochs. A call does trainings until its minutes are
over, and the next call goes on.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

from covary import rng
from covary.config.site_methods import METHODS, SiteMethod
from covary.predict.tables import SiteModel

SITES, POINTS, SEED = 10, 500, 48  # points per class and site
RADIUS_SD, NOISE_SD, SHARE_SD, PROBES, PROBE_SD = 0.3, 0.1, 0.3, 2, 0.2
EPOCHS, BATCH, LEARNING_RATE = 60, 128, 0.004
NAMES = ("plain", "site_input", "domain_adversarial", "armed", "armed_without_adversary")
# Own trainings of the paper's networks, 60 epochs, five folds: accuracy at seen sites with the true site.
REFERENCE = {
    "plain": {"plain": 0.783, "site_input": 0.836, "domain_adversarial": 0.784, "armed": 0.851,
              "armed_without_adversary": 0.848},
    "confounded": {"plain": 0.848, "site_input": 0.874, "domain_adversarial": 0.758, "armed": 0.882,
                   "armed_without_adversary": 0.861},
}  # fmt: skip


def main() -> None:
    """Do trainings until the time is over, then print what is known."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(1, 11)))
    parser.add_argument("--variant", nargs="*", choices=REFERENCE, default=list(REFERENCE))
    parser.add_argument("--methods", nargs="*", choices=NAMES, default=NAMES)
    parser.add_argument("--minutes", type=float, default=9.0, help="start no training after so long")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/spirals.json"))
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    rows = json.loads(options.output.read_text()) if options.output.exists() else []
    done = {(row["seed"], row["variant"], row["method"]) for row in rows}
    wanted = [(s, v, m) for s in options.seeds for v in options.variant for m in options.methods]
    for seed, variant, method in wanted:
        if (seed, variant, method) in done:
            continue
        if time.monotonic() > end:
            print("there are trainings to do; call again")
            break
        rows.append({"seed": seed, "variant": variant, "method": method} | score(seed, variant, method))
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(rows, indent=1))
    print(table(pd.DataFrame(rows)).to_string(index=False, float_format=lambda value: f"{value:.3f}"))


def spirals(confounded: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (point, 2 or 4), class and site of every point."""
    random = np.random.RandomState(SEED)  # the paper's points come from this generator
    radii = random.normal(1, RADIUS_SD, SITES)
    shares = random.normal(0.5, SHARE_SD, SITES).clip(0.1, 0.9) if confounded else np.full(SITES, 0.5)
    features, classes, sites = [], [], []
    for site, (radius, share) in enumerate(zip(radii, shares, strict=True)):
        for label, part in enumerate((share, 1 - share)):
            drawn = 2 * POINTS if confounded else POINTS
            angle = np.deg2rad(random.randint(0, 360, drawn))
            direction = np.stack([-np.cos(angle - label * np.pi), np.sin(angle - label * np.pi)], axis=1)
            points = direction * (angle * radius / angle.max())[:, None]
            points = (points + random.normal(0, NOISE_SD, points.shape))[: round(2 * POINTS * part)]
            if confounded:
                probes = random.normal(share, PROBE_SD, (len(points), PROBES))
                points = np.concatenate([points, probes], axis=1)
            features.append(points)
            classes += [label] * len(points)
            sites += [site] * len(points)
    return np.concatenate(features), np.array(classes), np.array(sites)


def score(seed: int, variant: str, name: str) -> dict[str, float]:
    """Train one method and test it on the tenth of the points that it has not seen."""
    x, y, site = spirals(variant == "confounded")
    order = rng.generator(seed, "held_out").permutation(len(x))
    test, train = np.split(order, [len(x) // 10])
    corrector, effects = METHODS[name]
    adversary = {"adversary_weight": 0.5, "adversary_widths": [4, 4]} if corrector == "adversary" else {}
    method = SiteMethod(corrector=corrector, effects=effects, **adversary)
    model = SiteModel(
        method, "classification", seed=seed, new_sites=False, width=4, epochs=EPOCHS, batch_size=BATCH,
        learning_rate=LEARNING_RATE,
    ).fit(x[train], y[train], site[train])  # fmt: skip

    def accuracy(probabilities: np.ndarray) -> float:
        return float((probabilities.argmax(axis=1) == y[test]).mean())

    shuffled = rng.generator(seed, "random_sites").integers(0, SITES, len(test))
    result = {
        "accuracy": accuracy(model.predict_mixed(x[test], site[test])),
        "fixed": accuracy(model.predict_fixed(x[test])),
        "random_site": accuracy(model.predict_mixed(x[test], shuffled)),
    }
    if variant == "confounded":
        slopes = model.sensitivity(x[test])
        result["reliance"] = float(slopes[2:].mean() / slopes[:2].mean())
    return result


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, and the paired difference from plain with its 95 % interval (Student's t)."""
    lines = []
    for (variant, method), group in rows.groupby(["variant", "method"], sort=False):
        plain = rows[(rows["variant"] == variant) & (rows["method"] == "plain")].set_index("seed")["accuracy"]
        gain = (group.set_index("seed")["accuracy"] - plain).dropna()
        half = np.nan
        if len(gain) > 1:
            half = float(t.ppf(0.975, len(gain) - 1)) * gain.std(ddof=1) / np.sqrt(len(gain))
        means = group.drop(columns=["seed", "variant", "method"]).mean()
        lines.append(
            {"variant": variant, "method": method, "seeds": len(group), **means}
            | {"reference": REFERENCE[variant][method]}
            | {"gain": gain.mean(), "gain_low": gain.mean() - half, "gain_high": gain.mean() + half}
        )
    return pd.DataFrame(lines)


if __name__ == "__main__":
    main()
