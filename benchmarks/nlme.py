"""Throughput of covary.nlme on the paper's model, beside the plain ways of doing the same.

    python benchmarks/nlme.py [--subjects 20000] [--output benchmarks/nlme.json]

Every contender runs in a process of its own, one after the other; compile time is told apart. The same
subjects (eta ~ N(0, I), 21 observations, σ = 0.01) go to each; slow contenders get the first few of them.
Accuracy is the largest error against a solution at tolerance 1e-11, or the objective above covary's modes.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

TIMES_H = np.arange(21) * 0.5
SIGMA = 0.01
SEED = 1


def main() -> None:
    """Run all contenders, print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subjects", type=int, default=20_000)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--contender", choices=CONTENDERS, help="run this one alone and print its JSON")
    arguments = parser.parse_args()
    if arguments.contender:
        print(json.dumps(CONTENDERS[arguments.contender](arguments.subjects)))
        return
    results = {}
    for name in CONTENDERS:
        if name == "fit_r_nlme" and shutil.which("Rscript") is None:
            print("fit_r_nlme: R is not installed, not measured", file=sys.stderr)
            continue
        command = [sys.executable, __file__, "--contender", name, "--subjects", str(arguments.subjects)]
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results[name] = json.loads(run.stdout.splitlines()[-1])
        print(
            f"{name:28s} " + "  ".join(f"{key} {value:.4g}" for key, value in results[name].items()),
            flush=True,
        )
    for task, base in (("simulate_covary", "simulate_vmap_tsit5"), ("modes_covary", "modes_scipy_loop"),
                       ("modes_covary", "modes_vmap_bfgs")):  # fmt: skip
        ratio = results[task]["subjects_per_s"] / results[base]["subjects_per_s"]
        results[f"{task} / {base}"] = {"ratio": ratio}
        print(f"{task} / {base}: {ratio:.1f} times")
    arguments.output.write_text(json.dumps(results, indent=2) + "\n")


def population(n: int):
    """Model, parameters, random effects and design of n subjects."""
    from covary import nlme, rng

    nlme.configure()
    model = nlme.load_model("saturable_elimination")
    eta = rng.normal(SEED, "eta", 0, n, (3,))
    return model, model.default_parameters(), eta, nlme.Design.regular(TIMES_H, n_subjects=n, dose=1.0)


def subjects(n: int):
    """The same with records."""
    from covary import nlme

    model, parameters, eta, design = population(n)
    return model, parameters, eta, design, nlme.simulate(model, parameters, eta, design, SEED)


def reference(eta: np.ndarray) -> np.ndarray:
    """Predictions at tolerance 1e-11."""
    from covary import nlme
    from covary.nlme.blocks import map_lanes
    from covary.nlme.lanes import lanes_of, predict_program
    from covary.nlme.solvers.lanes import Tolerance

    model = nlme.load_model("saturable_elimination")
    lanes = lanes_of(model, nlme.Design.regular(TIMES_H, n_subjects=len(eta), dose=1.0))
    program = partial(predict_program, model, model.default_parameters().theta, Tolerance(1e-11, 1e-13))
    f, _, _ = map_lanes(program, len(eta), lambda index: (eta.T[:, index], lanes.select(index)))
    return f.T


def timed(function, n: int, repeats: int = 2) -> tuple[dict, object]:
    """First call (with compilation) and the best of some more."""
    seconds = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    best = min(seconds[1:])
    return {"subjects": n, "subjects_per_s": n / best, "seconds": best, "first_call_s": seconds[0]}, result


def simulate_covary(n: int) -> dict:
    """covary.nlme.predictions."""
    from covary import nlme

    model, parameters, eta, design = population(n)
    measured, found = timed(lambda: nlme.predictions(model, parameters, eta, design), n)
    return measured | {"largest_error": float(np.abs(found[:2000] - reference(eta[:2000])).max())}


def tsit5(eta, max_steps=100_000, throw=True):
    """One subject by diffrax in the plain way."""
    import diffrax
    import jax.numpy as jnp

    ka, imax, ic50 = jnp.exp(eta[0]), 2.1 * jnp.exp(eta[1]), 0.4 * jnp.exp(eta[2])

    def field(t, y, args):
        return jnp.stack([-ka * y[0], ka * y[0] - imax * y[1] / (ic50 + y[1])])

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field), diffrax.Tsit5(), 0.0, TIMES_H[-1], None, jnp.array([1.0, 0.0]),
        saveat=diffrax.SaveAt(ts=jnp.asarray(TIMES_H)), max_steps=max_steps, throw=throw,
        stepsize_controller=diffrax.PIDController(rtol=1e-6, atol=1e-8), adjoint=diffrax.ForwardMode(),
    )  # fmt: skip
    return solution.ys[:, 1]


def simulate_vmap_tsit5(n: int) -> dict:
    """jax.vmap of diffrax's adaptive Tsit5."""
    import jax

    _, _, eta, _ = population(n)
    solve = jax.jit(jax.vmap(tsit5))
    measured, found = timed(lambda: np.asarray(solve(eta)), n)
    return measured | {"largest_error": float(np.abs(found[:2000] - reference(eta[:2000])).max())}


def modes_covary(n: int) -> dict:
    """covary.nlme.empirical_bayes, and how often eight starts drawn from the prior find no better mode."""
    from covary import nlme, rng
    from covary.nlme.empirical_bayes import estimate
    from covary.nlme.lanes import observed_lanes_of

    model, parameters, _, design, simulation = subjects(n)
    records = nlme.Records.of(design, simulation.observation)
    measured, modes = timed(lambda: nlme.empirical_bayes(model, parameters, records), n)
    best = modes.objective.copy()
    for i in range(8):
        start = rng.normal(SEED, f"start/{i}", 0, n, (3,))
        other = estimate(model, parameters.concrete(), observed_lanes_of(model, records), True, near=start)
        best = np.fmin(best, np.where(other.status == nlme.Status.FAILED, np.inf, other.objective))
    return measured | {
        "converged": float(np.mean(modes.status == nlme.Status.CONVERGED)),
        "largest_gradient": float(modes.gradient_norm[modes.status == nlme.Status.CONVERGED].max()),
        "global_mode_fraction": float(np.mean(modes.objective <= best + 1e-3)),
    }


def above_covary(eta: np.ndarray, simulation, n: int) -> dict:
    """How often, and by how much at the median, Φ is above that of covary's modes."""
    from covary import nlme

    model = nlme.load_model("saturable_elimination")
    parameters = model.default_parameters()
    design = nlme.Design.regular(TIMES_H, n_subjects=n, dose=1.0)
    best = nlme.empirical_bayes(
        model, parameters, nlme.Records.of(design, simulation.observation[:n])
    ).objective
    f = nlme.predictions(model, parameters, eta, design)
    phi = np.sum(0.5 * ((simulation.observation[:n] - f) / SIGMA) ** 2 + np.log(SIGMA), axis=1)
    gap = phi + 0.5 * np.sum(eta**2, axis=1) - best
    return {"worse_mode_fraction": float(np.mean(~(gap < 1e-3))), "median_gap": float(np.median(gap))}


def modes_scipy_loop(n: int) -> dict:
    """A loop over subjects: scipy's least_squares over solve_ivp with LSODA."""
    from scipy.integrate import solve_ivp
    from scipy.optimize import least_squares

    n = min(n, 40)
    *_, simulation = subjects(n)

    def residuals(eta, y):
        ka, imax, ic50 = np.exp(eta[0]), 2.1 * np.exp(eta[1]), 0.4 * np.exp(eta[2])

        def field(t, s):
            return [-ka * s[0], ka * s[0] - imax * s[1] / (ic50 + s[1])]

        f = solve_ivp(field, (0, TIMES_H[-1]), [1.0, 0.0], "LSODA", TIMES_H, rtol=1e-7, atol=1e-9).y[1]
        return np.concatenate([(y - f) / SIGMA, eta])

    start = time.perf_counter()
    eta = np.array([least_squares(residuals, np.zeros(3), args=(y,)).x for y in simulation.observation])
    seconds = time.perf_counter() - start
    return {"subjects": n, "subjects_per_s": n / seconds, "seconds": seconds} | above_covary(
        eta, simulation, n
    )


def modes_vmap_bfgs(n: int) -> dict:
    """jax.vmap of optimistix's BFGS over diffrax's adaptive Tsit5.

    Its first steps go far astray, where solves need so many steps that they are given up (diffrax's default).
    """
    import jax
    import jax.numpy as jnp
    import optimistix

    n = min(n, 512)
    *_, simulation = subjects(n)

    def phi(eta, y):
        f = tsit5(eta, max_steps=4096, throw=False)
        return 0.5 * jnp.sum(((y - f) / SIGMA) ** 2) + 0.5 * jnp.sum(eta**2)

    def minimise(y):
        solver = optimistix.BFGS(rtol=1e-8, atol=1e-8)
        return optimistix.minimise(
            phi, solver, jnp.zeros(3), args=y, throw=False, max_steps=256, options={"autodiff_mode": "fwd"}
        ).value

    solve = jax.jit(jax.vmap(minimise))
    measured, eta = timed(lambda: np.asarray(solve(simulation.observation)), n, repeats=1)
    return measured | above_covary(eta, simulation, n)


def fit_covary_theoph(n: int) -> dict:
    """FOCEI fit of the Theophylline data."""
    from covary import nlme

    nlme.configure()
    model = nlme.load_model("one_compartment_oral")
    records = nlme.read_nonmem(Path(__file__).parents[1] / "tests" / "data" / "theoph_nonmem.csv")
    measured, fit = timed(lambda: nlme.fit_population(model, records, model.default_parameters()), 12)
    return measured | {"ofv": fit.objective}


def fit_r_nlme(n: int) -> dict:
    """R's nlme on the same data."""
    script = (
        "library(nlme); d <- groupedData(conc ~ Time | Subject, as.data.frame(Theoph)); "
        "t <- system.time(for (i in 1:5) f <- nlme(conc ~ SSfol(Dose, Time, lKe, lKa, lCl), data = d, "
        "fixed = lKe + lKa + lCl ~ 1, random = pdDiag(lKe + lKa + lCl ~ 1), start = c(-2.5, 0.5, -3.2), "
        "method = 'ML')); cat(t[['elapsed']] / 5, as.numeric(logLik(f)))"
    )
    out = subprocess.run(
        ["Rscript", "-e", script], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split()
    return {"subjects": 12, "seconds": float(out[0]), "log_likelihood": float(out[1])}


CONTENDERS = {
    function.__name__: function
    for function in (simulate_covary, simulate_vmap_tsit5, modes_covary, modes_scipy_loop, modes_vmap_bfgs,
                     fit_covary_theoph, fit_r_nlme)
}  # fmt: skip

if __name__ == "__main__":
    main()
