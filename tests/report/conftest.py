import io

import numpy as np
import pandas as pd
import pytest

from covary import rng
from covary.association import blur
from covary.evaluate import RandomEffects, Records, longitudinal_nll_table, random_effects_table

NOISES = (0.0, 1.0, 9.0)


def run(predictors=("network",), skill=0.8, error=0.4):
    """Tables of a made-up run: predictors know `skill` of what can be known and are off by `error` of it."""
    n, sd = 800, 0.01
    eta = rng.normal(1, "eta", 0, n, (3,))
    effects, records = [], []
    for v in NOISES:

        def draw(name, columns, v=v):
            return rng.normal(1, f"{name}/{v}", 0, n, (columns,))

        eta_hat = blur(eta, v, draw("r", 3))
        scale = (1 + v) ** -0.5
        predicted = {
            name: scale * (skill * eta + (error + 0.1 * i) * draw(name, 3))
            for i, name in enumerate(predictors)
        }
        effects.append(RandomEffects(v, eta_hat, 0.7 * eta_hat + 0.4 * draw("e", 3), predicted))

        def outcome(random_effects, name):
            return random_effects.sum(axis=1, keepdims=True) * np.linspace(0, 0.1, 21) + sd * draw(name, 21)

        records.append(
            Records(
                v,
                true=outcome(eta_hat, "true"),
                predicted={name: outcome(predicted[name], f"y/{name}") for name in predictors},
                approximate=outcome(effects[-1].eta_approx, "approximate"),
                average=outcome(0 * eta, "average"),
                random=outcome(draw("random", 3), "random outcome"),
            )
        )  # fmt: skip
    prediction = eta.sum(axis=1, keepdims=True) * np.linspace(0, 0.1, 21)
    tables = (
        random_effects_table(effects, seed=1, resamples=200),
        longitudinal_nll_table(records, prediction, residual_sd=sd, seed=1, resamples=200),
    )
    return tuple(pd.read_csv(io.StringIO(table.to_csv(index=False))) for table in tables)  # as in a run


@pytest.fixture(scope="session")
def good():
    return run()


@pytest.fixture(scope="session")
def blind():
    """The predictor knows nothing: its predictions are noise."""
    return run(skill=0.0, error=1.0)


@pytest.fixture(scope="session")
def two():
    return run(predictors=("linear", "resnet18"))


@pytest.fixture(scope="session")
def ranking():
    return pd.DataFrame(
        {
            "latent": [0, 1, 2, 3],
            "posterior_mean_variance": [0.5, 0.001, 0.9, 0.7],
            "active": [True, False, True, True],
            "readback_mse": [0.30, 1.0, 0.1, 0.2],
            "readback_r2": [0.70, 0.0, 0.9, 0.8],
            "sensitivity": [0.01, 0.0, 0.04, 0.02],
            "rank_readback": [3, -1, 1, 2],
            "rank_sensitivity": [3, -1, 1, 2],
            "random_effect": [2, -1, 0, 1],
        }
    )
