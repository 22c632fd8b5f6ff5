"""The simulation of LMMNN: test errors of methods for random intercepts, beside the published ones.

    python benchmarks/lmmnn.py [--between 1 10] [--sites 100 1000] [--seeds 1]

Ten features x ~ U(-1, 1), y = Xβ cos(Xβ) + 2 x₁x₂ + b + ε with Xβ = 1 + Σx, b ~ N(0, σ²_b) of the site and
ε ~ N(0, 1); 100,000 subjects, a fifth of them for testing (Simchoni and Rosset 2021). The least error that is
possible is 1. Pairs of σ²_b and number of sites are those of which errors are known here.
"""

import argparse

import numpy as np
import pandas as pd

from covary import rng
from covary.predict.tables import SiteModel

SUBJECTS, FEATURES = 100_000, 10
TRAINING = {
    "width": 64,
    "epochs": 6,
    "batch_size": 100,
    "learning_rate_schedule": "cosine",
    "ema_decay": 0.99,
}
METHODS = ("plain", "site_input", "lmmnn", "armed_without_adversary", "monte_carlo_em")
PUBLISHED = {
    (1.0, 100): {"plain": 2.09, "site_input": 1.23, "lmmnn": 1.10},
    (10.0, 1000): {"plain": 11.05, "site_input": 1.60, "lmmnn": 1.09},
}


def main() -> None:
    """Print test errors, and the variance between sites where a method estimates it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--between", type=float, nargs="*", default=[1.0, 10.0])
    parser.add_argument("--sites", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1])
    options = parser.parse_args()
    rows = [
        {
            "between": between,
            "sites": sites,
            "method": method,
            "seed": seed,
            **score(between, sites, method, seed),
        }
        for between, sites in zip(options.between, options.sites, strict=True)
        for method in options.methods
        for seed in options.seeds
    ]
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda value: f"{value:.3f}"))


def score(between: float, sites: int, method: str, seed: int) -> dict[str, float]:
    """The mean squared error on the subjects that were not in training."""
    x = rng.uniform(seed, "x", 0, SUBJECTS, (FEATURES,)) * 2 - 1
    site = np.arange(SUBJECTS) % sites
    b = np.sqrt(between) * rng.normal(seed, "b", 0, sites, ())
    linear = 1 + x.sum(axis=1)
    y = linear * np.cos(linear) + 2 * x[:, 0] * x[:, 1] + b[site] + rng.normal(seed, "e", 0, SUBJECTS, ())
    order = rng.generator(seed, "split").permutation(SUBJECTS)
    test, train = np.split(order, [SUBJECTS // 5])
    model = SiteModel(method, seed=seed, new_sites=False, **TRAINING).fit(x[train], y[train], site[train])
    error = float(np.square(y[test] - model.predict_mixed(x[test], site[test])).mean())
    result = {"error": error, "published": PUBLISHED.get((between, sites), {}).get(method, np.nan)}
    if model.network.effects is not None:
        result |= {"variance": float(model.intercepts().variance[0]), "true_variance": float(b.var(ddof=1))}
    return result


if __name__ == "__main__":
    main()
