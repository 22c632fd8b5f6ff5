"""The paper's population from draws of a posterior network, beside FOCE and the truth.

python benchmarks/amortised_population.py [rounds] [subjects] [share of missing visits]

The network is trained under a wide prior around the start of the paper, whose fixed effects and residual
error are wrong, before any record is seen. Its draws then give all seven parameters of the population.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from covary import nlme, rng
from covary.amortised.fit import PopulationSimulator, fit_amortised
from covary.amortised.train import Training, train
from covary.config.visits import CompletelyAtRandom

ROUNDS, SUBJECTS = 100, 1000
SETTINGS = {
    "summary": "residual", "layers": 6, "width": 64, "batch": 256, "steps": 200, "learning_rate": 0.004,
}  # fmt: skip
WIDTH = 1.5  # of the prior of the training, in initial standard deviations


def main() -> None:
    """Print estimates by draws, those of FOCE, the truth, and relative differences."""
    given = sys.argv[1:]
    rounds, n = (int(v) for v in [*given[:2], *(ROUNDS, SUBJECTS)[len(given[:2]) :]])
    share = float(given[2]) if len(given) > 2 else 0.0
    nlme.configure()
    model = nlme.SaturableElimination()
    truth = model.default_parameters()
    design = nlme.Design.regular(np.arange(0.0, 10.5, 0.5), n_subjects=1, dose=1.0)
    many = design.rows(np.zeros(n, dtype=int))
    missing = [CompletelyAtRandom(mechanism="completely_at_random", fraction=share)] if share else []
    y = nlme.simulate(model, truth, rng.normal(1, "eta", 0, n, (3,)), many, 1).observation
    y = np.where(rng.uniform(1, "missing", 0, n, (y.shape[1],)) < share, np.nan, y)
    start = list(model.initial_fixed_effects().values())
    initial = model.parameters(start, omega=1.0, residual=nlme.Additive(0.02))
    simulator = PopulationSimulator(model, initial, design, missing, WIDTH)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        trained, _ = train(simulator, Training(rounds=rounds, **SETTINGS), seed=1, folder=Path(folder))
    trained_s = time.process_time() - began
    found = fit_amortised(trained, simulator, y, seed=1)
    found_s = time.process_time() - began - trained_s
    foce = nlme.fit_population(model, nlme.Records.of(many, y, missing_as_nan=True), initial, method="foce")
    table = pd.DataFrame(
        {
            "draws": found.parameters.natural(),
            "se": dict(zip(found.parameters.natural(), found.standard_errors, strict=True)),
            "foce": foce.parameters.natural(),
            "truth": truth.natural(),
        }
    ).astype(float)
    table["to foce, %"] = 100 * (table["draws"] / table["foce"] - 1)
    table["to truth, %"] = 100 * (table["draws"] / table["truth"] - 1)
    table["nearer, %"] = table[["to foce, %", "to truth, %"]].abs().min(axis=1)
    print(table.round(4).to_string())
    print(
        f"training {trained_s:.0f} CPU s, draws and fit {found_s:.0f}, {found.verdict}; "
        f"FOCE converged {foce.converged}; largest difference to the nearer {table['nearer, %'].max():.1f} %",
        flush=True,
    )


if __name__ == "__main__":
    main()
