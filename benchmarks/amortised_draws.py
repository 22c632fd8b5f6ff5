"""Weighted draws of a posterior network on the paper's model, by share of missing visits.

python benchmarks/amortised_draws.py [rounds]

One network is trained on records of 21 visits of which up to 17 are missing. Its draws are weighted for
records with 0, 30 and 60 % of the visits missing, with and without a tenth of them from a wider distribution.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from covary import nlme
from covary.amortised import exact
from covary.amortised.problem import EngineSimulator, simulated
from covary.amortised.train import Training, train
from covary.amortised.weights import sample_size
from covary.config.visits import CompletelyAtRandom
from covary.evaluate.coverage import DRAWS, rank_test, ranks

SUBJECTS, MISSING, MOST_MISSING = 600, (0.0, 0.3, 0.6), 17
SETTINGS = {"summary": "residual", "layers": 6, "batch": 256, "steps": 200, "learning_rate": 0.004}


def at_random(**how):
    """Visits that are missing completely at random."""
    return [CompletelyAtRandom(mechanism="completely_at_random", **how)]


def main() -> None:
    """Print the mean effective sample size, who falls back, and p of the ranks of the raw draws."""
    rounds = int((sys.argv[1:] or [100])[0])
    nlme.configure()
    model = nlme.SaturableElimination()
    truth = model.default_parameters()
    design = nlme.Design.regular(np.arange(0.0, 10.5, 0.5), n_subjects=1, dose=1.0)
    simulator = EngineSimulator(model, truth, design, at_random(at_most=MOST_MISSING))
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        trained, _ = train(simulator, Training(rounds=rounds, **SETTINGS), seed=1, folder=Path(folder))
    print(f"training: {time.process_time() - began:.0f} CPU s", flush=True)
    for fraction in MISSING:
        test = EngineSimulator(model, truth, design, at_random(fraction=fraction))
        phi, y = simulated(test, 0, SUBJECTS, seed=9, stream=f"test/{fraction}")
        records = nlme.Records.of(design.rows(np.zeros(SUBJECTS, dtype=int)), y, missing_as_nan=True)
        raw, _ = trained.sample(y, DRAWS, seed=2, stream="raw")
        p = ", ".join(f"{value:.2g}" for value in rank_test(ranks(phi, raw))[1])
        print(
            f"{100 * fraction:.0f} % missing: p of ranks {p}; unfamiliar {trained.unfamiliar(y).mean():.4f}"
        )
        for wide in (0.0, exact.WIDE):
            found = exact.weighted_draws(
                trained, simulator.factor, model, truth, records, 4 * DRAWS, seed=2, stream="d", wide=wide
            )
            share = sample_size(found.weight) / found.weight.shape[1]
            poor = ~(found.pareto_k < exact.RELIABLE_K) | (share < exact.LOW_SAMPLE_SIZE)
            print(
                f"  {100 * wide:.0f} % wider: sample size {share.mean():.3f} of the draws, "
                f"{100 * poor.mean():.1f} % fall back",
                flush=True,
            )


if __name__ == "__main__":
    main()
