"""Population parameters of a simulated study: the true ones, and those from which the fit starts."""

import jax

from covary import nlme
from covary.config.records import Longitudinal, PopulationFit

_RESIDUALS = {
    "additive": nlme.Additive,
    "proportional": nlme.Proportional,
    "combined": nlme.Combined,
    "log_normal": nlme.LogNormal,
}


def true_parameters(model: nlme.OdeModel | nlme.ClosedFormModel, settings: Longitudinal) -> nlme.Parameters:
    """The model's own parameters, with the Ω and the residual error of the configuration if it has them.

    Raises UserError if the model has no parameters of its own, or Ω does not have its size.
    """
    own = model.default_parameters()
    residual = settings.residual
    return model.parameters(
        own.theta,
        own.omega if settings.omega is None else settings.omega,
        own.residual
        if residual is None
        else _RESIDUALS[residual.error](**residual.model_dump(exclude={"error"})),
    )


def initial_parameters(
    model: nlme.OdeModel | nlme.ClosedFormModel, truth: nlme.Parameters, fit: PopulationFit
) -> nlme.Parameters:
    """Where the population fit starts: the kind of residual error is known, its standard deviations are not.

    Raises UserError if the fixed effects are not as many as those of the model.
    """
    theta = fit.initial_fixed_effects
    return model.parameters(
        model.initial_fixed_effects() if theta is None else theta,
        fit.initial_omega,
        jax.tree.map(lambda sd: fit.initial_sigma, truth.residual),
    )
