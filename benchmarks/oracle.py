"""How much of the explainable fraction each objective reaches when the predictor sees eta itself.

    python benchmarks/oracle.py [--noise 0 1 9 18 49] [--seeds 1 2 3] [--output benchmarks/oracle.json]

A small network is given eta, so that nothing is lost in an image, and the population parameters are the true
ones; what is missing then, the objective misses. 50,000 training subjects, 5,000 to stop by and to fit V on;
the test needs no records and takes 500,000. A noise level and seed is written as it is done, and one that is
in the file already is not computed again. Coverage is of the 95 % predictive intervals of eta_hat.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

TRAIN, VALIDATION, TEST = 50_000, 5_000, 500_000
DRAWS = 32
LEVELS, SEEDS = (0.0, 1.0, 9.0, 18.0, 49.0), (1, 2, 3)


def main() -> None:
    """Compute what is missing, write it, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--noise", type=float, nargs="+", default=LEVELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    done = json.loads(arguments.output.read_text()) if arguments.output.exists() else []
    for noise in arguments.noise:
        for seed in arguments.seeds:
            if not any((row["noise_variance"], row["seed"]) == (noise, seed) for row in done):
                done += measure(noise, seed)
                arguments.output.write_text(json.dumps(done, indent=1) + "\n")
    print_table(done)


def measure(noise: float, seed: int) -> list[dict]:
    """One row for each objective."""
    import tempfile

    from covary import nlme, predict, rng
    from covary.config.records import Longitudinal
    from covary.dataset import association
    from covary.nlme.likelihood import RecordLikelihood
    from covary.records.study import Study

    started = time.perf_counter()
    n = TRAIN + VALIDATION + TEST
    study = Study.planned(Longitudinal(), n, seed)
    parameters, omega = study.truth, np.asarray(study.truth.omega)
    k = len(omega)
    eta = rng.normal(seed, "eta", 0, n, (k,))
    eta_hat = association.blur(eta, noise, rng.normal(seed, "association", 0, n, (k,)))
    parts, test = (slice(0, TRAIN), slice(TRAIN, TRAIN + VALIDATION)), slice(TRAIN + VALIDATION, n)
    some = slice(test.start)
    records = study.records(study.simulate(eta_hat[some], some, seed=seed, stream="residual_error"), some)
    modes = nlme.empirical_bayes(study.model, parameters, records)
    drawn = nlme.posterior_draws(study.model, parameters, records, modes, DRAWS, seed)
    likelihood = RecordLikelihood(study.model, parameters, records)
    posteriors = predict.Posteriors.of(drawn.eta, drawn.log_marginal, likelihood)
    prepared = time.perf_counter()
    rows = []
    for objective in ("ebe_mse", "marginal_likelihood"):
        evidence = posteriors if objective == "marginal_likelihood" else predict.Targets(modes.eta)
        with tempfile.TemporaryDirectory() as folder:
            network, history = predict.train_predictor(
                *(predict.Examples(eta[part], evidence[part]) for part in parts),
                predict.OBJECTIVES[objective].loss(omega, "full"),
                predict.ORACLE,
                seed,
                Path(folder),
            )
        centre = predict.OBJECTIVES[objective].centred
        predict.calibrate(network, eta[parts[1]], eta_hat[parts[1]], structure="full", centre=centre)
        error = eta_hat[test] - predict.predict(network, eta[test])
        total = np.square(eta_hat[test] - eta_hat[test].mean())
        inside = np.abs(error) < 1.959964 * np.sqrt(np.diag(network.covariance.cpu().numpy()))
        rows.append(
            {
                "noise_variance": noise,
                "seed": seed,
                "objective": objective,
                "fraction_of_max": (1 + noise) * (1 - np.square(error).sum() / total.sum()),
                "coverage": float(inside.mean()),
                "coverage_of_each": inside.mean(axis=0).round(4).tolist(),
                "epochs": len(history),
                "preparation_s": round(prepared - started, 1),
                "total_s": round(time.perf_counter() - started, 1),
            }
        )
    return rows


def print_table(rows: list[dict]) -> None:
    """Mean over seeds, with their range."""
    print(f"{'σ²':>4}  {'objective':20}  {'fraction of max':24}  coverage of 95 % intervals")
    for noise in sorted({row["noise_variance"] for row in rows}):
        for objective in dict.fromkeys(row["objective"] for row in rows):
            cells = []
            for key in ("fraction_of_max", "coverage"):
                values = [
                    row[key]
                    for row in rows
                    if (row["noise_variance"], row["objective"]) == (noise, objective)
                ]
                if values:
                    cells.append(f"{np.mean(values):.4f} ({min(values):.4f} … {max(values):.4f})")
            print(f"{noise:4g}  {objective:20}  " + "  ".join(f"{cell:24}" for cell in cells))


if __name__ == "__main__":
    main()
