"""Networks inside longitudinal models: the price of a gradient, and the standard demonstration problem.

    python benchmarks/deep.py gradient [--subjects 10] [--draws 8] [--repeats 5]
    python benchmarks/deep.py ladder [--models right wrong deep latent] [--effects 3] [--subjects 10 100]
                                     [--seeds 1 2 3 4 5] [--output benchmarks/deep_ladder.csv]
    python benchmarks/deep.py effects [--effects 1 2 3] [--seeds 1 2 3 4 5]

A drug from an oral depot stimulates the production of a response (indirect response); five parameters vary
with variance 0.1. Doses of 1 are given at 0 h and at about 5 h, a time that differs between subjects;
concentration and response are observed every hour for a day. `deep` knows the drug and learns the response
by a network that has random effects among its inputs, `wrong` has a direct effect in place of a turnover,
`latent` decodes both curves from random effects and time. Twelve test subjects.

`gradient`: user seconds of one gradient of a batch in all weights and random effects, beside
`jax.vmap(diffrax.diffeqsolve)` on the same problem.
`ladder`: root mean squared error of individual predictions of the response against the noise-free one, from
all visits, divided by that of the true model under its true parameters; the same for an unseen regimen (3 ×
0.3 every 3 h, then 1.5 at 25 and 33 h); evidence of the test subjects (IWAE). A row is written as it is done,
and one that is in the file already is not computed again.
`effects`: how many random effects held-out evidence asks for where two made the data, y = c₁ t/(t + 10^c₂)
with c₁ ~ U(0.5, 1.5) and c₂ ~ U(−2, 0), σ = 0.05, 21 times, 100 training and 100 test subjects. It is the
least number of those of `latent_record` that no larger one beats with an interval above 0.
"""

import argparse
import dataclasses
import time
from pathlib import Path
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from covary import nlme, rng
from covary.nlme.evidence import difference
from covary.nlme.grid import fine_grid
from covary.nlme.lanes import observed_lanes_of, predict
from covary.nlme.neural import weights_of, with_weights

TEST_SUBJECTS = 12
TIMES = np.arange(25.0)
ERRORS = {"concentration": nlme.Additive(0.02), "response": nlme.Additive(0.1)}
START = {"concentration": nlme.Additive(0.05), "response": nlme.Additive(0.2)}
FIT = {"steps": 400, "draws": 2, "final_draws": 32, "final_steps": 200, "evaluation_draws": 64}


class Drug(nlme.OdeModel):
    """What the models with equations share: a depot and a central compartment."""

    outputs: ClassVar = {1: "concentration", 2: "response"}

    def drug(self, y, p):
        """Time derivatives of depot and central compartment, and the concentration."""
        depot, central = y[:2]
        absorption, concentration = p["Ka"] * depot, central / p["V"]
        return -absorption, absorption - p["CL"] * concentration, concentration


class Right(Drug):
    """The truth: R' = Kin (1 + Smax cⁿ/(SC50ⁿ + cⁿ)) − Kout R."""

    fixed_effects: ClassVar = dict.fromkeys(("Ka", "CL", "V", "Smax", "n", "SC50", "Kout", "Kin"), "positive")
    random_effects = ("eta_Smax", "eta_SC50", "eta_Ka", "eta_V", "eta_Kout")

    def default_parameters(self):
        """The truth."""
        return self.parameters([0.5, 1.0, 1.0, 2.9, 1.5, 0.05, 2.2, 0.8], omega=0.1, residual=ERRORS)

    def start(self):
        """Where a fit starts."""
        return self.parameters([1.0, 1.0, 1.0, 2.0, 1.0, 0.2, 1.0, 0.5], omega=0.1, residual=START)

    def individual(self, theta, eta, covariates):
        varied = dict(zip(("Smax", "SC50", "Ka", "V", "Kout"), eta, strict=True))
        return theta | {name: theta[name] * jnp.exp(value) for name, value in varied.items()}

    def initial_state(self, p):
        return 0.0, 0.0, p["Kin"] / p["Kout"]

    def vector_field(self, t, y, p):
        depot, central, concentration = self.drug(y, p)
        power = jnp.maximum(concentration, 1e-12) ** p["n"]
        stimulation = 1 + p["Smax"] * power / (p["SC50"] ** p["n"] + power)
        return depot, central, p["Kin"] * stimulation - p["Kout"] * y[2]

    def prediction(self, t, y, p):
        return {"concentration": y[1] / p["V"], "response": y[2]}


class Wrong(Drug):
    """A direct effect: R = R0 + Emax c/(EC50 + c)."""

    fixed_effects: ClassVar = dict.fromkeys(("Ka", "CL", "V", "R0", "Emax", "EC50"), "positive")
    random_effects = ("eta_Ka", "eta_V", "eta_R0", "eta_Emax", "eta_EC50")

    def start(self):
        """Where a fit starts."""
        return self.parameters([1.0, 1.0, 1.0, 0.4, 1.0, 0.2], omega=0.1, residual=START)

    def individual(self, theta, eta, covariates):
        varied = dict(zip(("Ka", "V", "R0", "Emax", "EC50"), eta, strict=True))
        return theta | {name: theta[name] * jnp.exp(value) for name, value in varied.items()}

    def initial_state(self, p):
        return 0.0, 0.0

    def vector_field(self, t, y, p):
        return self.drug(y, p)[:2]

    def prediction(self, t, y, p):
        concentration = y[1] / p["V"]
        effect = p["Emax"] * concentration / (p["EC50"] + concentration)
        return {"concentration": concentration, "response": p["R0"] + effect}


class Latent(nlme.LatentRecord):
    """Both curves decoded from random effects and time."""

    outputs: ClassVar = Drug.outputs

    def __init__(self, n_effects: int):
        super().__init__(n_effects)
        self.network = nlme.MLP(1 + n_effects, outputs=2, width=10, start=0.0, skip=True)

    def start(self):
        """Where a fit starts."""
        return self.parameters([0.3], omega=1.0, residual=START)

    def closed_form(self, time_h, doses, p):
        own = [p[f"eta_{i}"] for i in range(self.n_effects)]
        first, second = jax.vmap(lambda t: self.network(t, *own))(time_h / self.time_scale_h)
        return {"concentration": first, "response": p["base"] + second}


class Deep(nlme.NeuralIndirectResponse):
    """The shipped model."""

    def start(self):
        """Where a fit starts."""
        return self.default_parameters()


def model_of(name: str, effects: int):
    """A rung of the ladder."""
    made = {"right": Right, "wrong": Wrong, "deep": lambda: Deep(effects), "latent": lambda: Latent(effects)}
    return made[name]()


def design(n: int, seed: int, name: str) -> nlme.Design:
    """A dose at 0 h and one at a time of each subject's own."""
    second = rng.generator(seed, f"deep/second/{name}").gamma(40.0, 5 / 40, n)
    rows = [
        nlme.Design.regular(
            TIMES, n_subjects=1, doses=[nlme.Dose(0.0, 1.0), nlme.Dose(time_h, 1.0)], outputs=(1, 2)
        )
        for time_h in second
    ]
    arrays = {
        field.name: np.concatenate([getattr(row, field.name) for row in rows])
        for field in dataclasses.fields(nlme.Design)
        if isinstance(getattr(rows[0], field.name), np.ndarray)
    }
    return dataclasses.replace(rows[0], n_subjects=n, **arrays)


def simulated(n: int, seed: int, name: str):
    """Random effects and records of `n` subjects."""
    truth = Right()
    eta = np.sqrt(0.1) * rng.normal(seed, f"deep/eta/{name}", 0, n, (5,))
    own = design(n, seed, name)
    observation = nlme.simulate(
        truth, truth.default_parameters(), eta, own, seed, stream=f"deep/{name}"
    ).observation
    return eta, nlme.Records.of(own, observation)


def unseen(n: int) -> nlme.Design:
    """The regimen that no subject had."""
    doses = [(0.0, 0.3), (3.0, 0.3), (6.0, 0.3), (25.0, 1.5), (33.0, 1.5)]
    return nlme.Design.regular(
        np.arange(49.0), n_subjects=n, doses=[nlme.Dose(*dose) for dose in doses], outputs=(1, 2)
    )


def response_error(model, parameters, eta, own: nlme.Design, truth) -> float:
    """Of the response, the second of the two outputs at each time."""
    difference = nlme.predictions(model, parameters, eta, own) - truth
    return float(np.sqrt(np.mean(difference[:, 1::2] ** 2)))


def rung(name: str, effects: int, subjects: int, seed: int) -> dict:
    """One row of the ladder."""
    started = time.process_time()
    _, train = simulated(subjects, seed, "train")
    eta, test = simulated(TEST_SUBJECTS, seed, "test")
    truth = Right()
    true = truth.default_parameters()
    model = model_of(name, effects)
    fit = nlme.fit_variational(model, train, model.start(), seed=seed, **FIT)
    fitted_s = time.process_time() - started
    of_fit = nlme.variational_posterior(fit.model, fit.parameters, test, seed=seed, evaluation_draws=64)
    of_truth = nlme.variational_posterior(truth, true, test, seed=seed, evaluation_draws=64)
    row = {
        "model": name,
        "random_effects": len(fit.parameters.random_effects),
        "training_subjects": subjects,
        "seed": seed,
        "evidence": of_fit.bound.iwae.sum(),
        "evidence_of_truth": of_truth.bound.iwae.sum(),
        "training_elbo": fit.bound.elbo.sum(),
        "fit_cpu_s": fitted_s,
    }
    gap = difference(of_fit.bound.iwae, of_truth.bound.iwae)
    row |= {"evidence_gap_low": gap.low, "evidence_gap_high": gap.high}
    for regimen, own in (("seen", test.design), ("unseen", unseen(TEST_SUBJECTS))):
        noise_free = nlme.predictions(truth, true, eta, own)
        arguments = own, noise_free
        error = response_error(fit.model, fit.parameters, of_fit.posterior.mean, *arguments)
        least = response_error(truth, true, of_truth.posterior.mean, *arguments)
        population = response_error(fit.model, fit.parameters, 0 * of_fit.posterior.mean, *arguments)
        row |= {f"{regimen}_ratio": error / least, f"{regimen}_of_population": error / population}
    return row


def ladder(options) -> None:
    """Compute what is missing, write it, print it."""
    done = pd.read_csv(options.output).to_dict("records") if options.output.exists() else []
    key = ("model", "random_effects", "training_subjects", "seed")
    for name in options.models:
        for effects in options.effects if name in ("deep", "latent") else options.effects[:1]:
            k = len(model_of(name, effects).random_effects)
            for subjects in options.subjects:
                for seed in options.seeds:
                    if any(tuple(row[c] for c in key) == (name, k, subjects, seed) for row in done):
                        continue
                    done.append(rung(name, effects, subjects, seed))
                    pd.DataFrame(done).to_csv(options.output, index=False)
    print(pd.DataFrame(done).round(3).to_string(index=False))


def gradient(options) -> None:
    """User seconds of a gradient, by the grid and by a plain vmap of an adaptive solve."""
    import diffrax

    n, draws = options.subjects, options.draws
    _, records = simulated(n, 1, "train")
    model = Deep(3)
    weights = weights_of(model) + 0.3 * rng.generator(1, "deep/weights").normal(size=weights_of(model).size)
    parameters = model.start()
    trained = with_weights(model, weights)
    lanes = observed_lanes_of(model, records)
    grid = fine_grid(trained, parameters, lanes)
    lanes = lanes.select(np.repeat(np.arange(n), draws))
    eta = jnp.asarray(np.sqrt(0.1) * rng.normal(1, "deep/draws", 0, n * draws, (5,)).T)
    theta = parameters.concrete().theta
    second = np.repeat(records.design.dose_time_h[:, 1], draws)

    def on_grid(weights, eta):
        f = predict(with_weights(model, weights), theta, eta, lanes, grid).prediction
        return jnp.sum(jnp.square(f - lanes.y))

    def one(network, eta, second, y):
        """What a user writes: two states, the absorbed doses as a function of time."""
        p = model.individual(theta, eta, {})
        own = [p[f"eta_{i}"] for i in range(3)]

        def field(t, state, _):
            since = jnp.stack([t, t - second])
            depot = jnp.sum(jnp.where(since >= 0, jnp.exp(-p["Ka"] * jnp.maximum(since, 0.0)), 0.0))
            c = state[0] / p["V"]
            return jnp.stack([p["Ka"] * depot - p["CL"] * c, network(c, state[1], *own)])

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Tsit5(),
            TIMES[0],
            TIMES[-1],
            None,
            jnp.stack([0.0, p["R0"]]),
            saveat=diffrax.SaveAt(ts=jnp.asarray(TIMES)),
            stepsize_controller=diffrax.PIDController(rtol=1e-4, atol=1e-6, jump_ts=second[None]),
        )
        f = jnp.stack([solution.ys[:, 0] / p["V"], solution.ys[:, 1]], axis=1).ravel()
        return jnp.sum(jnp.square(f - y))

    def by_vmap(weights, eta):
        network = with_weights(model, weights).network
        return jnp.sum(jax.vmap(one, (None, -1, 0, -1))(network, eta, jnp.asarray(second), lanes.y))

    seconds = {}
    for name, loss in (("grid", on_grid), ("vmap(diffeqsolve)", by_vmap)):
        both = eqx.filter_jit(jax.value_and_grad(loss, argnums=(0, 1)))
        value, slope = jax.block_until_ready(both(jnp.asarray(weights), eta))
        started = time.process_time()
        for _ in range(options.repeats):
            jax.block_until_ready(both(jnp.asarray(weights), eta))
        seconds[name] = (time.process_time() - started) / options.repeats
        norm = float(jnp.linalg.norm(slope[0]))
        print(f"{name:18s} {1e3 * seconds[name]:9.2f} ms   value {float(value):.6f}   |gradient| {norm:.6f}")
    ratio = seconds["vmap(diffeqsolve)"] / seconds["grid"]
    print(f"{n * draws} solves, {grid.n_steps} steps; ratio {ratio:.1f}")


def saturating(n: int, seed: int, name: str) -> nlme.Records:
    """Records of `n` subjects that differ in two numbers."""
    uniform = rng.uniform(seed, f"deep/effects/{name}", 0, n, (2,))
    times = np.linspace(0.0, 1.0, 21)
    height, half = 0.5 + uniform[:, :1], 10 ** (2 * uniform[:, 1:] - 2)
    noise = 0.05 * rng.normal(seed, f"deep/effects/{name}/noise", 0, n, (len(times),))
    return nlme.Records.of(nlme.Design.regular(times, n_subjects=n), height * times / (times + half) + noise)


def effects(options) -> None:
    """Evidence of new subjects by number of random effects, and the number that it chooses."""
    for seed in options.seeds:
        train, test = (saturating(100, seed, name) for name in ("train", "test"))
        found = {}
        for k in options.effects:
            started = time.process_time()
            model = nlme.LatentRecord(k, time_scale_h=1.0, width=6)
            fit = nlme.fit_variational(
                model, train, model.default_parameters(), seed=seed, steps=2000, draws=2, final_steps=1000,
                evaluation_draws=64,
            )  # fmt: skip
            own = nlme.evidence(fit.model, fit.parameters, test, methods=("importance_sampling",), seed=seed)
            found[k] = own.value["importance_sampling"]
            seconds = time.process_time() - started
            print(f"seed {seed}, {k} random effects: evidence {found[k].sum():8.1f}   {seconds:.0f} CPU s")
        beaten = {
            k for k in found for more in found if more > k and difference(found[more], found[k]).low > 0
        }
        print(f"seed {seed}: {min(set(found) - beaten)} random effects", flush=True)


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(required=True)
    one = parts.add_parser("gradient")
    one.add_argument("--subjects", type=int, default=10)
    one.add_argument("--draws", type=int, default=8)
    one.add_argument("--repeats", type=int, default=5)
    one.set_defaults(run=gradient)
    two = parts.add_parser("ladder")
    two.add_argument("--models", nargs="+", default=["right", "wrong", "deep", "latent"])
    two.add_argument("--effects", nargs="+", type=int, default=[3])
    two.add_argument("--subjects", nargs="+", type=int, default=[10, 100])
    two.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    two.add_argument("--output", type=Path, default=Path(__file__).with_name("deep_ladder.csv"))
    two.set_defaults(run=ladder)
    three = parts.add_parser("effects")
    three.add_argument("--effects", nargs="+", type=int, default=[1, 2, 3])
    three.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    three.set_defaults(run=effects)
    options = parser.parse_args()
    nlme.configure()
    options.run(options)


if __name__ == "__main__":
    main()
