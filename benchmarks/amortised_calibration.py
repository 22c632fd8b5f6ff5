"""Calibration of posteriors by share of missing visits, on two models whose true parameters are known.

python benchmarks/amortised_calibration.py [one_compartment or paper] [rounds] [records]

Up to 60 % of the visits are missing; their number is uniform. Weighted draws, Laplace's, those of the network
alone and those of a network that is blind to what is missing are compared on the same records.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from covary import nlme
from covary.amortised.problem import EngineSimulator
from covary.amortised.train import Training, train
from covary.config.visits import CompletelyAtRandom
from covary.evaluate.coverage import ALL, JOINT, LEVELS, SOURCES, WEIGHTED
from covary.evaluate.posterior_checks import check_posteriors

RECORDS, ROUNDS = 10_000, 100
SETTINGS = {
    "summary": "residual", "layers": 6, "width": 64, "batch": 256, "steps": 200, "learning_rate": 0.004,
}  # fmt: skip
BLIND_ROUNDS = 20
WIDTH = 1.2  # of the prior of the training


def paper():
    """The paper's model at its true parameters, 21 visits."""
    model = nlme.SaturableElimination()
    return model, model.default_parameters(), np.arange(0.0, 10.5, 0.5), 1.0


def one_compartment():
    """A dose of 320 by mouth and 8 visits; errors of the logarithm have a standard deviation of 0.25."""
    model = nlme.OneCompartmentOral()
    parameters = model.parameters([0.45, 1.0, 3.45], omega=[0.25, 0.09, 0.09], residual=nlme.LogNormal(0.25))
    return model, parameters, np.array([0.5, 1.0, 2.0, 4.0, 6.0, 9.0, 12.0, 24.0]), 320.0


def main() -> None:
    """Print, by source and share of missing visits, the least p and the errors of coverage in points."""
    given = sys.argv[1:]
    name = (given or ["one_compartment"])[0]
    rounds, subjects = (int(v) for v in [*given[1:], *(ROUNDS, RECORDS)[len(given[1:]) :]])
    nlme.configure()
    model, parameters, time_h, dose = {"paper": paper, "one_compartment": one_compartment}[name]()
    design = nlme.Design.regular(time_h, n_subjects=1, dose=dose)
    missing = [CompletelyAtRandom(mechanism="completely_at_random", at_most=int(0.6 * len(time_h)))]
    wide = EngineSimulator(model, parameters, design, missing, WIDTH)
    complete = EngineSimulator(model, parameters, design, [], WIDTH)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        trained, _ = train(wide, Training(rounds=rounds, **SETTINGS), seed=1, folder=Path(folder))
    trained_s = time.process_time() - began
    blindly = Training(encoding="insert", constant=0.0, rounds=min(rounds, BLIND_ROUNDS), **SETTINGS)
    with tempfile.TemporaryDirectory() as folder:
        blind, _ = train(complete, blindly, seed=1, folder=Path(folder))
    test = EngineSimulator(model, parameters, design, missing)
    table, _ = check_posteriors(
        trained, blind, wide.factor, test, subjects, seed=9, stream="calibration", resamples=500
    )
    print(f"{name}: training {trained_s:.0f} CPU s, {rounds} rounds; {subjects} records")
    for source in SOURCES:
        of = table[table["source"] == source]
        tests = int((of["missing"] != ALL).sum())
        for stratum, rows in of.groupby("missing", sort=False):
            single = rows[rows["parameter"] != JOINT]
            errors = {
                level: 100 * (single[f"coverage_{100 * level:.0f}"] - level).to_numpy() for level in LEVELS
            }
            points = "  ".join(
                f"{100 * level:.0f} %: {e.min():+.1f} … {e.max():+.1f}" for level, e in errors.items()
            )
            least = rows["p"].min()
            verdict = "rejected" if least < 0.01 / tests else "not rejected"
            n = int(rows["subjects"].iloc[0])
            print(
                f"{source:9} missing {stratum:10} n {n:6}  least p {least:.2g} "
                f"({verdict} at 1 % of {tests} tests)  {points}"
            )
    joint = table[(table["parameter"] == JOINT) & (table["source"] == WEIGHTED)].set_index("missing")
    print(joint.filter(regex="effective|status|unfamiliar").round(4).to_string(), flush=True)


if __name__ == "__main__":
    main()
