"""Nonlinear mixed-effects models: simulation and estimation, batched over subjects, in float64.

    nlme.configure()
    model = nlme.load_model("saturable_elimination")
    design = nlme.Design.regular(times_h, n_subjects=1000, dose=1.0)
    simulation = nlme.simulate(model, model.default_parameters(), eta, design, seed)
    fit = nlme.fit_population(model, nlme.Records.of(design, simulation.observation), initial)
    modes = nlme.empirical_bayes(model, fit.parameters, records)

`nlme.configure()` comes first: it switches JAX to 64-bit numbers. Importing this package changes nothing. All
cores are used, or as many as OMP_NUM_THREADS says. The first call of each kind compiles for some seconds.
Compiled programs are kept in the user's cache folder, or in the folder that JAX_COMPILATION_CACHE_DIR names.
"""

from covary.nlme.capacity import capacity
from covary.nlme.catalogue import load_model
from covary.nlme.comparison import compare
from covary.nlme.configuration import configure
from covary.nlme.constraints import Prior
from covary.nlme.design import Bounds, Design, Dose, Records, Varying
from covary.nlme.diagnostics import (
    PredictiveCheck,
    epsilon_shrinkage,
    individual_curves,
    npde,
    predictive_check,
    residual_table,
)
from covary.nlme.dosing import Dosing
from covary.nlme.draws import Draws
from covary.nlme.empirical_bayes import EmpiricalBayes, Status, empirical_bayes
from covary.nlme.evidence import Evidence, evidence
from covary.nlme.fit import PopulationFit, fit_population
from covary.nlme.marginal import Marginal, objective
from covary.nlme.model import ClosedFormModel, Doses, OdeModel, StructuralModel
from covary.nlme.models import IndirectResponse, OneCompartmentOral, SaturableElimination
from covary.nlme.neural import (
    MLP,
    LatentRecord,
    NeuralCompartments,
    NeuralElimination,
    NeuralIndirectResponse,
)
from covary.nlme.nonmem import read_design, read_nonmem, write_nonmem
from covary.nlme.occasions import with_occasions
from covary.nlme.parameters import Parameters, parameters_from_json, parameters_to_json
from covary.nlme.penalised import PenalisedFit, fit_penalised
from covary.nlme.posterior import posterior_draws
from covary.nlme.quadrature import adaptive_quadrature, normal_quadrature
from covary.nlme.residual import Additive, Combined, LogNormal, Proportional, ResidualError
from covary.nlme.simulate import Simulation, SimulationStatus, predictions, simulate
from covary.nlme.uncertainty import Profile, bootstrap, likelihood_profile
from covary.nlme.variational import VariationalFit, fit_variational, variational_posterior

__all__ = [
    "MLP",
    "Additive",
    "Bounds",
    "ClosedFormModel",
    "Combined",
    "Design",
    "Dose",
    "Doses",
    "Dosing",
    "Draws",
    "EmpiricalBayes",
    "Evidence",
    "IndirectResponse",
    "LatentRecord",
    "LogNormal",
    "Marginal",
    "NeuralCompartments",
    "NeuralElimination",
    "NeuralIndirectResponse",
    "OdeModel",
    "OneCompartmentOral",
    "Parameters",
    "PenalisedFit",
    "PopulationFit",
    "PredictiveCheck",
    "Prior",
    "Profile",
    "Proportional",
    "Records",
    "ResidualError",
    "SaturableElimination",
    "Simulation",
    "SimulationStatus",
    "Status",
    "StructuralModel",
    "VariationalFit",
    "Varying",
    "adaptive_quadrature",
    "bootstrap",
    "capacity",
    "compare",
    "configure",
    "empirical_bayes",
    "epsilon_shrinkage",
    "evidence",
    "fit_penalised",
    "fit_population",
    "fit_variational",
    "individual_curves",
    "likelihood_profile",
    "load_model",
    "normal_quadrature",
    "npde",
    "objective",
    "parameters_from_json",
    "parameters_to_json",
    "posterior_draws",
    "predictions",
    "predictive_check",
    "read_design",
    "read_nonmem",
    "residual_table",
    "simulate",
    "variational_posterior",
    "with_occasions",
    "write_nonmem",
]
