"""Nonlinear mixed-effects models: simulation and estimation, batched over subjects, in float64.

    model = nlme.load_model("saturable_elimination")
    design = nlme.Design.regular(times_h, n_subjects=1000, dose=1.0)
    simulation = nlme.simulate(model, model.default_parameters(), eta, design, seed)
    fit = nlme.fit_population(model, nlme.Records.of(design, simulation.observation), initial)
    modes = nlme.empirical_bayes(model, fit.parameters, records)

Importing this package switches JAX to 64-bit numbers. All cores are used, or as many as OMP_NUM_THREADS
says. The first call of each kind compiles for some seconds; set the environment variable
JAX_COMPILATION_CACHE_DIR to a folder to keep compiled programs between processes.
"""

import os

import jax

# A loop over small arrays becomes one machine-code function, not a list of tasks for a pool of threads: half
# the time to compile, less to run, and calls from two threads no longer wait for each other. XLA takes this
# option from the environment only, before it compiles for the first time.
_LOOPS = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=10000000"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_LOOPS}".strip()
jax.config.update("jax_enable_x64", True)
# Programs queued behind each other can hold every thread that one of them waits for: two cores hang.
jax.config.update("jax_cpu_enable_async_dispatch", False)
# Keep every program that took more than a moment to compile (the default skips those under a second).
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

from covary.nlme.catalogue import load_model  # noqa: E402
from covary.nlme.design import Design, Records  # noqa: E402
from covary.nlme.draws import Draws  # noqa: E402
from covary.nlme.empirical_bayes import EmpiricalBayes, Status, empirical_bayes  # noqa: E402
from covary.nlme.fit import PopulationFit, fit_population  # noqa: E402
from covary.nlme.marginal import Marginal, objective  # noqa: E402
from covary.nlme.model import ClosedFormModel, Doses, OdeModel, StructuralModel  # noqa: E402
from covary.nlme.models import IndirectResponse, OneCompartmentOral, SaturableElimination  # noqa: E402
from covary.nlme.nonmem import read_nonmem, write_nonmem  # noqa: E402
from covary.nlme.parameters import Parameters, parameters_from_json, parameters_to_json  # noqa: E402
from covary.nlme.posterior import posterior_draws  # noqa: E402
from covary.nlme.quadrature import adaptive_quadrature, normal_quadrature  # noqa: E402
from covary.nlme.residual import Additive, Combined, LogNormal, Proportional, ResidualError  # noqa: E402
from covary.nlme.simulate import Simulation, SimulationStatus, predictions, simulate  # noqa: E402

__all__ = [
    "Additive",
    "ClosedFormModel",
    "Combined",
    "Design",
    "Doses",
    "Draws",
    "EmpiricalBayes",
    "IndirectResponse",
    "LogNormal",
    "Marginal",
    "OdeModel",
    "OneCompartmentOral",
    "Parameters",
    "PopulationFit",
    "Proportional",
    "Records",
    "ResidualError",
    "SaturableElimination",
    "Simulation",
    "SimulationStatus",
    "Status",
    "StructuralModel",
    "adaptive_quadrature",
    "empirical_bayes",
    "fit_population",
    "load_model",
    "normal_quadrature",
    "objective",
    "parameters_from_json",
    "parameters_to_json",
    "posterior_draws",
    "predictions",
    "read_nonmem",
    "simulate",
    "write_nonmem",
]
