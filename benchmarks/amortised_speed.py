"""What a posterior network saves: draws of many subjects, and refits of the population from stored draws.

python benchmarks/amortised_speed.py [rounds] [subjects] [subjects of refits]

The paper's model with 21 visits, 30 % of which are missing. One network is trained; then, in the same process
and in user CPU seconds,

- its weighted draws, those of the engine included where it falls back, against the engine's sampler with its
  modes, at the same mean effective sample size;
- a fit of the population with a covariate, and one with a full Ω, from stored draws against FOCE.

Costs per subject do not depend on their number. Every call is made twice and the second one timed, so that
compilation is left out. A FOCE fit is first made with one iteration.
"""

import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, TypeVar

import jax.numpy as jnp
import numpy as np

from covary import nlme, rng
from covary.amortised.exact import Source, exact_draws
from covary.amortised.population import fit_draws
from covary.amortised.problem import EngineSimulator, simulated
from covary.amortised.train import Training, train
from covary.config.visits import CompletelyAtRandom

SUBJECTS, REFITTED = 2000, 1000  # by default
KEPT = (16, 64)  # draws per subject of the engine's sampler
STORED = 250  # draws per subject for refits
MISSING = [CompletelyAtRandom(mechanism="completely_at_random", fraction=0.3)]
SETTINGS = {
    "summary": "residual", "layers": 4, "width": 32, "batch": 256, "steps": 200, "learning_rate": 0.004,
}  # fmt: skip
WIDTH = 1.2  # of the prior of the training
SLOPE = np.array([0.0, 0.3, -0.2])  # of log Ka, log Imax and log IC50 on the covariate
Result = TypeVar("Result")


class WithCovariate(nlme.SaturableElimination):
    """The paper's model, whose individual parameters are multiplied by e^(slope · covariate)."""

    fixed_effects: ClassVar = nlme.SaturableElimination.fixed_effects | {
        "slope_Ka": "real",
        "slope_Imax": "real",
        "slope_IC50": "real",
    }

    def individual(self, theta, eta, covariates):
        """Individual parameters, log-normal."""
        slope = jnp.stack([theta["slope_Ka"], theta["slope_Imax"], theta["slope_IC50"]])
        return super().individual(theta, eta + slope * covariates["x"], covariates)


def timed(task: Callable[[], Result]) -> tuple[Result, float]:
    """What a task returns, and its user CPU seconds."""
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    found = task()
    return found, resource.getrusage(resource.RUSAGE_SELF).ru_utime - began


def main() -> None:
    """Print CPU seconds and their ratios."""
    given = [int(argument) for argument in sys.argv[1:]]
    rounds, subjects, refitted = [*given, *(60, SUBJECTS, REFITTED)[len(given) :]]
    nlme.configure()
    model = nlme.SaturableElimination()
    truth = model.default_parameters()
    design = nlme.Design.regular(np.arange(0.0, 10.5, 0.5), n_subjects=1, dose=1.0)
    simulator = EngineSimulator(model, truth, design, MISSING, WIDTH)
    with tempfile.TemporaryDirectory() as folder:
        settings = Training(rounds=rounds, **SETTINGS)
        (trained, _), s = timed(lambda: train(simulator, settings, seed=1, folder=Path(folder)))
    print(f"training: {s:.0f} s", flush=True)
    compare_draws(model, truth, design, trained, simulator.factor, subjects)
    compare_refits(model, truth, design, trained, simulator.factor, refitted)


def compare_draws(model, truth, design, trained, factor, n) -> None:
    """Draws of the network against those of the engine, at equal effective sample size."""
    _, y = simulated(EngineSimulator(model, truth, design, MISSING), 0, n, seed=9, stream="test")
    records = nlme.Records.of(design.rows(np.zeros(n, dtype=int)), y, missing_as_nan=True)

    def engine(records, kept):
        modes = nlme.empirical_bayes(model, truth, records)
        return nlme.posterior_draws(model, truth, records, modes, kept, 2)

    def network(records, proposed):
        return exact_draws(trained, factor, model, truth, records, proposed, 2, proposals=1)

    first = records[slice(0, 200)]
    for kept in KEPT:
        engine(records, kept)  # compiles
        by_engine, engine_s = timed(lambda kept=kept: engine(records, kept))
        size = by_engine.effective_sample_size.mean()
        proposed = round(4 * kept * size / network(first, 4 * kept).draws.effective_sample_size.mean())
        network(records, proposed)  # compiles
        by_network, network_s = timed(lambda proposed=proposed: network(records, proposed))
        fallen = np.mean(by_network.source != Source.NETWORK)
        print(
            f"draws of {n} subjects: engine {engine_s:.1f} s, effective sample size {size:.0f}; "
            f"network {network_s:.1f} s, {by_network.draws.effective_sample_size.mean():.0f} of {proposed}, "
            f"{100 * fallen:.1f} % fall back; ratio {engine_s / network_s:.2f}",
            flush=True,
        )


def compare_refits(model, truth, design, trained, factor, n) -> None:
    """Two other population models, from stored draws and by FOCE."""
    x = rng.normal(9, "covariate", 0, n, (1,))
    eta = rng.normal(9, "refit", 0, n, (3,))
    many = design.rows(np.zeros(n, dtype=int))
    simulator = EngineSimulator(model, truth, design, MISSING)
    y = nlme.simulate(model, truth, eta + x * SLOPE, many, 9, stream="refit").observation
    y = simulator.observed(y, eta, seed=9, stream="refit", start=0)
    records = nlme.Records.of(many, y, missing_as_nan=True)
    (stored, s) = timed(lambda: exact_draws(trained, factor, model, truth, records, STORED, 3))
    print(f"{STORED} stored draws of {n} subjects: {s:.1f} s", flush=True)
    draws, sd = stored.draws.eta, np.sqrt(np.diagonal(truth.omega))
    theta = list(truth.theta.values())
    covariate = WithCovariate()
    own = dict(covariates={"x": x[:, 0]})
    with_x = nlme.Records.of(
        nlme.Design.regular(design.time_h[0], n_subjects=n, dose=1.0, **own), y, missing_as_nan=True
    )
    full = np.diag(sd**2) + 0.1 * (np.outer(sd, sd) - np.diag(sd**2))
    tasks = {
        "covariate, diagonal Ω": (
            lambda: fit_draws(
                draws, np.zeros(3), truth.omega, np.column_stack([np.ones(n), x]), structure="diagonal"
            ),
            covariate,
            with_x,
            covariate.parameters([*theta, 0.0, 0.0, 0.0], omega=truth.omega, residual=truth.residual),
        ),
        "no covariate, full Ω": (
            lambda: fit_draws(draws, np.zeros(3), truth.omega),
            model,
            records,
            model.parameters(theta, omega=full, residual=truth.residual),
        ),
    }
    residual = tuple(name for name in truth.natural() if name.startswith("residual "))
    for name, (from_draws, structure, data, start) in tasks.items():
        found, draws_s = timed(from_draws)

        def foce(data, structure=structure, start=start, **most):
            return nlme.fit_population(
                structure, data, start, method="foce", fixed=residual, covariance=False, **most
            )

        foce(data, max_iterations=1)  # compiles
        fit, foce_s = timed(lambda data=data, foce=foce: foce(data))
        natural = fit.parameters.natural()
        means = np.log([natural[key] for key in truth.theta]) - np.log(theta)
        difference = np.abs(found.coefficients[0] - means) / sd
        ratio = np.sqrt(np.diagonal(found.covariance) / np.diagonal(fit.parameters.omega)) - 1
        print(
            f"{name}: FOCE {foce_s:.1f} s, converged {fit.converged}; from draws {draws_s:.1f} s after "
            f"{len(found.history) - 1} iterations, converged {found.converged}; "
            f"ratio {foce_s / draws_s:.1f}; means differ by ≤ {difference.max():.3f} sd, "
            f"ω by {100 * ratio.min():.1f} to {100 * ratio.max():.1f} %; "
            f"draws worth {100 * np.median(found.share):.0f} %",
            flush=True,
        )


if __name__ == "__main__":
    main()
