"""Throughput of covary.nlme on the paper's model, beside the plain ways of doing the same.

    python benchmarks/nlme.py [--subjects 20000] [--output benchmarks/nlme.json]

Every contender runs in a process of its own, one after the other; compile time is told apart. The same
subjects (eta ~ N(0, I), 21 observations, σ = 0.01) go to each; slow contenders get the first few of them.
Accuracy is the largest error against a solution at tolerance 1e-11, or the objective above covary's modes.

Population fits are of Theophylline (12 subjects), and of 600 subjects simulated at its optimum. First fits
are whole processes, from the start of Python to the end: with an empty compilation cache (`cold`), and again
with what that left in it (`warm`). `--only NAME …` runs some of the contenders.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
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
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--fit", choices=FIRST_FITS, help="make this fit once")
    arguments = parser.parse_args()
    if arguments.fit:
        print(json.dumps(one_fit(*FIRST_FITS[arguments.fit])))
        return
    if arguments.contender:
        print(json.dumps(CONTENDERS[arguments.contender](arguments.subjects)))
        return
    results = {}
    for name in arguments.only:
        if name.startswith("fit_r_") and shutil.which("Rscript") is None:
            print(f"{name}: R is not installed, not measured", file=sys.stderr)
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
        if task not in results or base not in results:
            continue
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


def theophylline():
    """Model, records and initial values of the Theophylline data."""
    from covary import nlme

    nlme.configure()
    model = nlme.load_model("one_compartment_oral")
    records = nlme.read_nonmem(Path(__file__).parents[1] / "tests" / "data" / "theoph_nonmem.csv")
    return model, records, model.default_parameters()


def fit_covary_theoph(n: int) -> dict:
    """FOCEI fit of the Theophylline data."""
    from covary import nlme

    problem = theophylline()
    measured, fit = timed(lambda: nlme.fit_population(*problem), 12, repeats=5)
    return measured | {"ofv": fit.objective, "converged": fit.converged}


def many_like_theophylline(n: int):
    """Model, records and initial values of n subjects simulated at the optimum of Theophylline."""
    from covary import nlme, rng

    model, records, initial = theophylline()
    truth = model.parameters(
        [0.463883, 1.012158, 3.459745], [0.402356, 0.069095, 0.019160], nlme.Additive(0.694409)
    )
    times = records.design.time_h.mean(axis=0)
    design = nlme.Design.regular(times, n_subjects=n, dose=320.0)
    eta = rng.normal(SEED, "eta", 0, n, (3,)) * np.sqrt(np.diag(truth.omega))
    observation = nlme.simulate(model, truth, eta, design, SEED).observation
    return model, nlme.Records.of(design, observation), initial


def fit_covary_600(n: int) -> dict:
    """FOCEI fit of 600 subjects with 11 observations each."""
    from covary import nlme

    problem = many_like_theophylline(n := min(n, 600))
    measured, fit = timed(lambda: nlme.fit_population(*problem), n)
    return measured | {"ofv": fit.objective, "converged": fit.converged}


def one_fit(model_name: str, method: str) -> dict:
    """The first fit of Theophylline in this process, with standard errors."""
    start = time.perf_counter()
    from covary import nlme

    model, records, initial = theophylline()
    if model_name == "ode":
        model = equations()
    imported = time.perf_counter() - start
    fit = nlme.fit_population(model, records, initial, method=method)
    return {
        "import_s": imported,
        "fit_s": time.perf_counter() - start - imported,
        "ofv": fit.objective,
        "converged": fit.converged and bool(np.all(fit.standard_errors() > 0)),
    }


def equations():
    """The closed form of Theophylline as differential equations."""
    from covary import nlme

    class Equations(nlme.OdeModel):
        fixed_effects = nlme.OneCompartmentOral.fixed_effects
        random_effects = nlme.OneCompartmentOral.random_effects

        def individual(self, theta, eta, covariates):
            return nlme.OneCompartmentOral().individual(theta, eta, covariates)

        def initial_state(self, p):
            return 0.0, 0.0

        def vector_field(self, t, y, p):
            absorbed = p["ka"] * y[0]
            return -absorbed, absorbed - p["cl"] / p["v"] * y[1]

        def prediction(self, t, y, p):
            return y[1] / p["v"]

    return Equations()


FIRST_FITS = {
    "closed": ("closed", "focei"),
    "ode": ("ode", "focei"),
    "laplacei": ("closed", "laplacei"),
}


def first_fit(which: str) -> dict:
    """A fit in a fresh process, with an empty compilation cache and with a full one."""
    found: dict = {}
    with tempfile.TemporaryDirectory() as cache:
        for state in ("cold", "warm"):
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            run = subprocess.run(
                [sys.executable, __file__, "--fit", which], check=True, stdout=subprocess.PIPE, text=True,
                env=os.environ | {"JAX_COMPILATION_CACHE_DIR": cache},
            )  # fmt: skip
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            found[f"{state}_s"] = time.perf_counter() - start
            found[f"{state}_cpu_s"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            found |= {f"{state}_{key}": value for key, value in json.loads(run.stdout).items()}
    return found


def first_fit_closed(n: int) -> dict:
    """FOCEI, closed form."""
    return first_fit("closed")


def first_fit_ode(n: int) -> dict:
    """FOCEI, differential equations."""
    return first_fit("ode")


def first_fit_laplacei(n: int) -> dict:
    """Laplace's method with interaction, closed form."""
    return first_fit("laplacei")


def fit_by_r(data: str, subjects: int, repeats: int) -> dict:
    """R's nlme; `data` is an expression for a data frame with conc, Time, Dose and Subject."""
    script = (
        f"library(nlme); d <- groupedData(conc ~ Time | Subject, {data}); "
        f"t <- system.time(for (i in 1:{repeats}) "
        "f <- nlme(conc ~ SSfol(Dose, Time, lKe, lKa, lCl), data = d, "
        "fixed = lKe + lKa + lCl ~ 1, random = pdDiag(lKe + lKa + lCl ~ 1), start = c(-2.5, 0.5, -3.2), "
        f"method = 'ML')); cat(t[['elapsed']] / {repeats}, as.numeric(logLik(f)))"
    )
    out = subprocess.run(
        ["Rscript", "-e", script], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split()
    return {"subjects": subjects, "seconds": float(out[0]), "log_likelihood": float(out[1])}


def fit_r_nlme(n: int) -> dict:
    """R's nlme on the Theophylline data."""
    return fit_by_r("as.data.frame(Theoph)", 12, 5)


def fit_r_nlme_600(n: int) -> dict:
    """R's nlme on the 600 subjects, with the dose per kg that R's own table has."""
    _, records, _ = many_like_theophylline(n := min(n, 600))
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        file.write("Subject,Time,Dose,conc\n")
        for i, row in enumerate(records.observation):
            for t, y in zip(records.design.time_h[0], row, strict=True):
                file.write(f"{i},{t},4.6,{y}\n")
        file.flush()
        return fit_by_r(f"read.csv('{file.name}')", n, 2)


CONTENDERS = {
    function.__name__: function
    for function in (simulate_covary, simulate_vmap_tsit5, modes_covary, modes_scipy_loop, modes_vmap_bfgs,
                     first_fit_closed, first_fit_ode, first_fit_laplacei, fit_covary_theoph, fit_r_nlme,
                     fit_covary_600, fit_r_nlme_600)
}  # fmt: skip

if __name__ == "__main__":
    main()
