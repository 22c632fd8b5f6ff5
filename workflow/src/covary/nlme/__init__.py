"""Nonlinear mixed-effects models: simulation and estimation, batched over subjects, in float64.

Importing this package switches JAX to 64-bit numbers. The first call of each kind compiles for some seconds;
set the environment variable JAX_COMPILATION_CACHE_DIR to a folder to keep compiled programs between processes.
"""

import jax

jax.config.update("jax_enable_x64", True)
# Keep every program that took more than a moment to compile (the default skips those under a second).
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

from covary.nlme.design import Design, Records  # noqa: E402
from covary.nlme.empirical_bayes import EmpiricalBayes, Status, empirical_bayes  # noqa: E402
from covary.nlme.fit import PopulationFit, fit_population  # noqa: E402
from covary.nlme.marginal import Marginal, objective  # noqa: E402
from covary.nlme.model import ClosedFormModel, Doses, OdeModel, StructuralModel, load_model  # noqa: E402
from covary.nlme.models import IndirectResponse, OneCompartmentOral, SaturableElimination  # noqa: E402
from covary.nlme.parameters import Parameters, parameters_from_json, parameters_to_json  # noqa: E402
from covary.nlme.residual import Additive, Combined, LogNormal, Proportional, ResidualError  # noqa: E402
from covary.nlme.simulate import Simulation, SimulationStatus, predictions, simulate  # noqa: E402
